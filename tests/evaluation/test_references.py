import pytest
import torch
from refusals import refused

from cmrrecon import formats
from cmrrecon.data import Acquisition, Scan
from cmrrecon.evaluation.references import (
    acquisition_of,
    contradiction,
    find_reference,
    open_reference,
    slices_of,
)
from cmrrecon.operators.coils import rss
from cmrrecon.operators.fourier import ifft2c
from cmrrecon.sampling import undersample


@pytest.fixture
def full():
    return Scan.from_kspace(
        torch.randn(
            (2, 2, 3, 32, 24), dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
        )
    )


def tree(folder, *names):
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_reference_is_found_by_base_and_subject(tmp_path):
    a, b, c = tree(tmp_path, "P001/cine_sax.mat", "P002/cine_sax.mat", "P001/cine_lax.mat")
    assert (
        find_reference(Acquisition(base="cine_sax", subject="P002"), [a, b, c], truth_first=True)
        == b
    )
    assert (
        find_reference(Acquisition(base="cine_lax", subject="P001"), [a, b, c], truth_first=True)
        == c
    )


def test_noise_free_truth_is_preferred_and_undersampled_files_are_no_candidates(tmp_path):
    paths = tree(
        tmp_path,
        "P001/cine_sax.mat",
        "P001/cine_sax_truth.npz",
        "P001/cine_sax_kus_ktGaussian8.mat",
        "P001/cine_sax_mask_Uniform4.mat",
    )
    wanted = Acquisition(base="cine_sax", subject="P001")
    assert find_reference(wanted, paths, truth_first=True) == paths[1]
    assert find_reference(wanted, paths, truth_first=False) == paths[0]


def test_no_reference_and_several_are_refused(tmp_path):
    paths = tree(tmp_path, "P001/cine_sax.mat", "P002/cine_sax.mat")
    with refused("reference-missing"):
        find_reference(Acquisition(base="T1map", subject="P001"), paths, truth_first=True)
    with refused("reference-ambiguous"):
        find_reference(Acquisition(base="cine_sax"), paths, truth_first=True)


def test_scanners_with_the_same_subject_number_are_distinguish_runs(tmp_path):
    layout = "TrainingSet/FullSample/{}/P001/cine_sax.mat"
    paths = tree(
        tmp_path,
        layout.format("Center001/UIH_30T_umr780"),
        layout.format("Center006/Siemens_30T_Prisma"),
    )
    wanted = Acquisition(
        base="cine_sax", subject="P001", centre="Center006", vendor="Siemens_30T_Prisma"
    )
    assert find_reference(wanted, paths, truth_first=True) == paths[1]


def test_coil_types_are_distinguish_runs(tmp_path):
    paths = tree(tmp_path, "MultiCoil/P001/cine_sax.mat", "SingleCoil/P001/cine_sax.mat")
    wanted = Acquisition(base="cine_sax", subject="P001", coil="single")
    assert find_reference(wanted, paths, truth_first=True) == paths[1]


def test_a_lone_file_of_another_scan_does_not_fit(tmp_path):
    (path,) = tree(tmp_path, "P006/cine_sax.mat")
    with refused("reference-missing"):
        find_reference(Acquisition(base="cine_sax", subject="P001"), [path], truth_first=True)
    assert contradiction(Acquisition(base="cine_sax", subject="P001"), path) == "subject P006"
    assert contradiction(Acquisition(base="cine_lax", subject="P006"), path) == "base cine_sax"
    assert contradiction(Acquisition(base="cine_sax"), path) == ""
    assert contradiction(Acquisition(base="cine_sax"), tmp_path / "mine.npz") == ""


def test_full_kspace_gives_its_rss_and_says_so(full, tmp_path):
    formats.write_scan(tmp_path / "cine_sax.mat", full, variable="kspace")
    reference = open_reference(tmp_path / "cine_sax.mat")
    assert reference.source == "RSS of fully sampled k-space"
    assert torch.allclose(
        reference.images([1, 0])[:, 0], rss(ifft2c(full.read_slice(1))), atol=1e-6
    )


def test_slices_are_found_by_their_number(full, tmp_path):
    images = torch.rand((2, 3, 32, 24))
    formats.write_images(tmp_path / "a.h5", images, {"config": {"slices": [5, 2]}})
    reference = open_reference(tmp_path / "a.h5")
    assert torch.equal(reference.images([2])[:, 0], images[1])
    with refused("slice-missing"):
        reference.images([0])
    assert slices_of({"config": {"slices": [5, 2]}}, 2) == [5, 2]
    assert slices_of({"config": {"slices": "x"}}, 2) == slices_of(None, 2) == [0, 1]


def test_truth_images_are_used_as_they_are(full, tmp_path):
    image = torch.randn((2, 2, 32, 24), dtype=torch.complex64)
    formats.write_truth(
        tmp_path / "cine_sax_truth.npz", image, torch.ones((3, 32, 24), dtype=torch.complex64)
    )
    reference = open_reference(tmp_path / "cine_sax_truth.npz")
    assert reference.source == "noise-free truth"
    assert torch.equal(reference.images([0, 1]), image.abs())


def test_undersampled_kspace_is_no_reference(full, tmp_path):
    formats.write_scan(tmp_path / "a.h5", undersample(full, "uniform", 4, acs=8))
    with refused("kspace-undersampled"):
        open_reference(tmp_path / "a.h5").images([0])


def without_lines(full, lines):
    """The first slice of a scan with some lines not measured."""
    kspace = full.read_slice(0).clone()
    kspace[:, :, lines] = 0
    return Scan.from_kspace(kspace[:, None])


def test_partial_fourier_is_a_reference_only_if_allowed(full, tmp_path):
    path = tmp_path / "cine_sax.mat"
    formats.write_scan(path, without_lines(full, slice(0, 6)), variable="kspace")
    with refused("kspace-partial"):
        open_reference(path).images([0])
    reference = open_reference(path, allow_partial=True)
    assert reference.images([0]).any()
    assert ["partial Fourier" in text for text in reference.remarks] == [True]


@pytest.mark.parametrize(
    ("folder", "variable"), [(".", "kspace_full"), ("FullSample", "kspace"), ("FullSample", "kus")]
)
def test_files_that_the_challenge_calls_full_are_references_by_its_rule(
    full, tmp_path, folder, variable
):
    path = tmp_path / folder / "cine_sax.mat"
    path.parent.mkdir(exist_ok=True)
    formats.write_scan(path, without_lines(full, slice(0, 6)), variable=variable)
    reference = open_reference(path)
    if variable == "kus":
        with refused("kspace-partial"):
            reference.images([0])
        return
    assert reference.images([0]).any()
    assert "rule of its challenge" in reference.remarks[0]


@pytest.mark.parametrize("variable", ["kspace", "kspace_full"])
def test_aliased_kspace_is_never_a_reference(full, tmp_path, variable):
    path = tmp_path / "FullSample" / "cine_sax.mat"
    path.parent.mkdir()
    formats.write_scan(path, without_lines(full, slice(3, None, 5)), variable=variable)
    with refused("kspace-undersampled"):
        open_reference(path, allow_partial=True).images([0])


def test_acquisition_comes_from_the_provenance_else_from_the_name(tmp_path):
    stamp = {"acquisition": {"base": "T2map", "subject": "P009", "unknown": 1}}
    assert acquisition_of(tmp_path / "x.h5", stamp) == Acquisition(base="T2map", subject="P009")
    assert acquisition_of(tmp_path / "P003/cine_sax_kus_Uniform8.mat", None).pattern == "uniform"
