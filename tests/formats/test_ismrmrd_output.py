"""Our ISMRMRD comes back bit for bit, and other programs read it.

Some tests need environments of their own, below the folder CMRRECON_PEERS. They pass with
`peers` (pip install ismrmrd==1.15.0) and `mrproenv` (pip install mrpro==0.261015 torch==2.13.0).
"""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import Acquisition, Geometry, LineMask, SampleMask, Scan
from cmrrecon.operators import fourier

DEBIAN = shutil.which("ismrmrd_recon_cartesian_2d")


def program(name):
    """The Python of another environment in the folder CMRRECON_PEERS; skips the test without it."""
    path = Path(os.environ.get("CMRRECON_PEERS", "no-folder")) / name / "bin" / "python"
    if not path.is_file():
        pytest.skip(f"no environment {name} (CMRRECON_PEERS)")
    return path


def other(name, text, *words):
    """The JSON that a script prints in another environment."""
    done = subprocess.run(
        [program(name), "-c", text, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def located(scan):
    """The scan with a position in the patient."""
    slices = ((0.0, 0.8, 0.6), (1.0, 0.0, 0.0), (0.0, 0.6, -0.8))
    geometry = Geometry(
        voxel_mm=(1.5, 2.0, 8.0),
        positions_mm=((1.0, 2.0, 3.0), (1.0, 8.0, -3.0)),
        directions=(slices, slices),
        field_of_view=(10, 6),
    )
    facts = Acquisition("cine_sax", acceleration=4.0, field_strength=3.0, sequence="trufi")
    return Scan(scan.shape, scan.read_slice, scan.mask, facts, geometry=geometry)


def test_kspace_and_mask_round_trip(tmp_path, scan, stamp):
    formats.write_scan(tmp_path / "a.mrd", scan, stamp)
    assert formats.kind(tmp_path / "a.mrd") == "scan"
    back = formats.read(tmp_path / "a.mrd")
    assert back.shape == scan.shape
    for index in range(2):
        ours, theirs = scan.series(index), back.series(index)
        assert torch.equal(ours.kspace, theirs.kspace)
        assert isinstance(theirs.mask, LineMask)
        assert torch.equal(ours.mask.samples, theirs.mask.samples)
    assert back.acquisition == scan.acquisition
    assert formats.read_provenance(tmp_path / "a.mrd") == stamp


@pytest.mark.parametrize("known", [None, Geometry(voxel_mm=(1.3, 2.1, 8.0), field_of_view=(8, 6))])
def test_values_that_the_format_requires_are_not_read_as_known(tmp_path, scan, known):
    formats.write_scan(tmp_path / "a.mrd", replace(scan, geometry=known))
    assert formats.read(tmp_path / "a.mrd").geometry == known


def test_frame_times_round_trip(tmp_path, located):
    placed = replace(located.geometry, frame_times_ms=(0.0, 30.5, 71.0), recon_matrix=(20, 12))
    formats.write_scan(tmp_path / "a.mrd", replace(located, geometry=placed))
    assert formats.read(tmp_path / "a.mrd").geometry == placed


def test_a_shortened_readout_keeps_its_centre(tmp_path, scan):
    samples = scan.mask.samples.expand(-1, -1, 12).clone()
    samples[..., :3] = False
    kspace = torch.stack([scan.read_slice(i) for i in range(2)], 1) * samples[:, None, None]
    formats.write_scan(tmp_path / "a.mrd", Scan.from_kspace(kspace, samples))
    with h5py.File(tmp_path / "a.mrd") as file:
        head = file["dataset/data"][0]["head"]
    assert (head["number_of_samples"], head["center_sample"]) == (9, 3)
    back = formats.read(tmp_path / "a.mrd")
    assert torch.equal(back.read_slice(1), kspace[:, 1])
    assert torch.equal(back.mask.over(3).expand(-1, -1, 12), samples)


def test_a_centre_off_the_middle_is_written_if_the_lines_fit(tmp_path):
    lines = torch.zeros(1, 20, 1, dtype=torch.bool)
    lines[:, 1:16] = True
    kspace = torch.randn(1, 1, 2, 20, 24, dtype=torch.complex64) * lines
    for centre, written in ((8, 8), (6, 6), (4, 10)):  # with 4 the last line would leave the matrix
        mask = replace(LineMask(lines), centre=(centre, 12))
        formats.write_scan(tmp_path / "a.mrd", Scan.from_kspace(kspace, mask))
        with h5py.File(tmp_path / "a.mrd") as file:
            text = file["dataset/xml"][0].decode()
        limits = text.split("kspace_encoding_step_1>")[1]
        assert f"<center>{written}</center>" in limits
        back = formats.read(tmp_path / "a.mrd")
        assert torch.equal(back.read_slice(0), kspace[:, 0].roll(10 - written, -2))


def test_the_mask_of_a_scan_without_one_is_found_slice_by_slice(tmp_path, scan):
    bare = Scan(scan.shape, scan.read_slice)
    formats.write_scan(tmp_path / "a.mrd", bare)
    assert torch.equal(formats.read(tmp_path / "a.mrd").mask.samples, scan.mask.samples)


def test_masks_of_samples_are_refused(tmp_path, scan):
    samples = torch.rand(3, 10, 12, generator=torch.Generator().manual_seed(1)) > 0.3
    kspace = torch.randn(3, 2, 4, 10, 12, dtype=torch.complex64) * samples[:, None, None]
    for mask in (SampleMask(samples), None):
        with refused("mrd-samples"):
            formats.write_scan(tmp_path / "a.mrd", Scan.from_kspace(kspace, mask))
        assert list(tmp_path.iterdir()) == []
    large = Scan((1, 70000, 1, 4, 4), scan.read_slice)
    with refused("mrd-size"):
        formats.write_scan(tmp_path / "a.mrd", large)


def test_flags_and_counters(tmp_path, scan):
    formats.write_scan(tmp_path / "a.mrd", scan)
    with h5py.File(tmp_path / "a.mrd") as file:
        head = file["dataset/data"]["head"]
    lines = scan.mask.samples[..., 0].numpy()
    assert len(head) == 2 * lines.sum()
    assert head["flags"][-1] & (1 << 24)
    assert not (head["flags"][:-1] & (1 << 24)).any()
    assert ((head["flags"] & (1 << 7)) != 0).sum() == 6  # the last line of three frames, two slices
    frame, line = np.nonzero(lines)
    np.testing.assert_array_equal(head["idx"]["kspace_encode_step_1"], np.tile(line, 2))
    np.testing.assert_array_equal(head["idx"]["phase"], np.tile(frame, 2))
    np.testing.assert_array_equal(head["channel_mask"][:, 0], 15)
    np.testing.assert_array_equal(head["read_dir"], [[1, 0, 0]] * len(head))


PACKAGE = """
import json, sys, numpy as np, ismrmrd
file = ismrmrd.Dataset(sys.argv[1], "dataset", False)
header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
encoding = header.encoding[0]
n = file.number_of_acquisitions()
first = file.read_acquisition(n - 1)
total = sum(np.abs(file.read_acquisition(i).data.astype("c16")).sum() for i in range(n))
limits = encoding.encodingLimits
print(json.dumps({
    "n": n, "total": float(total),
    "field": header.acquisitionSystemInformation.systemFieldStrength_T,
    "frequency": header.experimentalConditions.H1resonanceFrequency_Hz,
    "matrix": [encoding.encodedSpace.matrixSize.y, encoding.encodedSpace.matrixSize.x],
    "fov": [encoding.reconSpace.fieldOfView_mm.y, encoding.reconSpace.fieldOfView_mm.x],
    "centre": limits.kspace_encoding_step_1.center, "phases": limits.phase.maximum,
    "kind": encoding.trajectory.value,
    "factor": encoding.parallelImaging.accelerationFactor.kspace_encoding_step_1,
    "mode": encoding.parallelImaging.calibrationMode.value,
    "position": list(first.position), "phase_dir": list(first.phase_dir),
    "sample": [float(first.data[2, 5].real), float(first.data[2, 5].imag)],
    "line": first.idx.kspace_encode_step_1, "coils": first.active_channels,
}))
"""


def test_the_package_ismrmrd_reads_it(tmp_path, located):
    formats.write_scan(tmp_path / "a.mrd", located)
    found = other("peers", PACKAGE, tmp_path / "a.mrd")
    lines = located.mask.samples[..., 0]
    assert found["n"] == 2 * lines.sum()
    total = sum(located.read_slice(i).to(torch.complex128).abs().sum() for i in range(2))
    assert found["total"] == pytest.approx(float(total), rel=1e-6)
    assert found["matrix"] == [10, 12]
    assert found["fov"] == [15, 12]
    assert found["centre"] == 5
    assert found["phases"] == 2
    assert (found["kind"], found["factor"], found["mode"]) == ("cartesian", 4, "embedded")
    assert (found["field"], found["frequency"]) == (3, 127732434)
    assert found["position"] == [1, 8, -3]
    assert found["phase_dir"] == pytest.approx([0, 0.8, 0.6])
    last = int(lines[2].nonzero()[-1])
    assert (found["line"], found["coils"]) == (last, 4)
    value = located.read_slice(1)[2, 2, last, 5]
    assert complex(*found["sample"]) == value.item()


MRPRO = """
import json, sys, types, warnings
warnings.simplefilter("ignore")
for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[name] = types.ModuleType(name)  # only needed for its brain phantoms
sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]
import numpy as np, torch
from mrpro.data import KData
from mrpro.data.traj_calculators import KTrajectoryCartesian
from mrpro.algorithms.reconstruction import DirectReconstruction
torch.set_num_threads(1)
kdata = KData.from_file(sys.argv[1], KTrajectoryCartesian())
image = DirectReconstruction(kdata, csm=None)(kdata).data
image = image.abs().square().sum(-4).sqrt()
np.save(sys.argv[2], image.numpy())
print(json.dumps({"data": list(kdata.data.shape), "image": list(image.shape)}))
"""


def test_mrpro_reads_it_and_sees_our_image(tmp_path):
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(48) - 24, indexing="ij")
    body = ((y / 11) ** 2 + (x / 17) ** 2 < 1).float() + ((y - 3) ** 2 + x**2 < 20).float()
    coils = [torch.exp(-((y - a) ** 2 + (x - b) ** 2) / 900 + 1j * y * a / 900) for a, b in PLACES]
    frames = torch.stack([body, 0.7 * body.roll(3, 0)])
    kspace = fourier.fft2c((frames[:, None, None] * torch.stack(coils)).to(torch.complex64))
    scan = Scan.from_kspace(kspace.expand(-1, 2, -1, -1, -1).clone())
    formats.write_scan(tmp_path / "a.mrd", scan)
    found = other("mrproenv", MRPRO, tmp_path / "a.mrd", tmp_path / "image.npy")
    theirs = torch.from_numpy(np.load(tmp_path / "image.npy")).squeeze().reshape(-1, 32, 48)
    assert sorted(found["data"], reverse=True)[:2] == [48, 32]
    ours = fourier.ifft2c(kspace).abs().square().sum(2).sqrt()[:, 0]
    for frame in ours:
        alike = [torch.corrcoef(torch.stack([frame.flatten(), t.flatten()]))[0, 1] for t in theirs]
        assert max(alike) > 0.999


PLACES = ((-16, -20), (-16, 20), (16, -20), (16, 20))


@pytest.mark.skipif(DEBIAN is None, reason="ismrmrd_recon_cartesian_2d is not installed")
def test_the_ismrmrd_library_reconstructs_it(tmp_path):
    """The C++ library is stricter than Python about the types in the file."""
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(48) - 24, indexing="ij")
    body = ((y / 11) ** 2 + ((x - 4) / 17) ** 2 < 1).float() + ((y - 3) ** 2 + x**2 < 20).float()
    coils = torch.stack([torch.exp(-((y - a) ** 2 + (x - b) ** 2) / 900) for a, b in PLACES])
    kspace = fourier.fft2c((body * coils).to(torch.complex64))[None, None]
    facts = Acquisition("Zoë")
    formats.write_scan(tmp_path / "a.mrd", Scan.from_kspace(kspace, acquisition=facts))
    subprocess.run([DEBIAN, "a.mrd"], cwd=tmp_path, check=True, capture_output=True)
    with h5py.File(tmp_path / "a.mrd") as file:
        theirs = torch.from_numpy(file["dataset/cpp/data"][()].squeeze())
    ours = (body * coils).square().sum(0).sqrt()
    assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.999
