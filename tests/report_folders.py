"""Small folders of reconstructions for tests of the report."""

import hashlib

import numpy as np
import torch

from cmrrecon import formats

SHAPE = (3, 2, 32, 40)
PLACE = "MultiCoil/Cine/TestSet/{}/Center005/Siemens_30T_Vida/P{:03}"


def truth_of(subject):
    """A bright disc that moves from frame to frame, on a dim background."""
    frame, _, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2], : SHAPE[3]]
    disc = (y - 14 - frame - subject % 3) ** 2 + (x - 20) ** 2 < 60
    return torch.from_numpy(np.where(disc, 1.0, 0.1)).float().expand(SHAPE).contiguous()


def write(folder, subject, method, level, *, place=None, factor=8, extra=None, source=None):
    """Write the reference of a scan and one reconstruction of it; return the reconstruction."""
    truth = truth_of(subject)
    reference = folder / "data" / PLACE.format("FullSample", subject) / "cine_sax_truth.npz"
    reference.parent.mkdir(parents=True, exist_ok=True)
    maps = torch.ones((1, *SHAPE[2:]), dtype=torch.complex64)
    formats.write_truth(reference, truth.to(torch.complex64), maps)

    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(subject))
    image = (truth + level * noise).abs()
    where = place or f"{method}/{PLACE.format('UnderSample_TaskR1', subject)}"
    made = folder / "rec" / where / f"cine_sax_kus_ktGaussian{factor}.h5"
    made.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "base": "cine_sax",
        "modality": "Cine",
        "subject": f"P{subject:03}",
        "centre": "Center005",
        "vendor": "Siemens_30T_Vida",
        "pattern": "kt-gaussian",
        "acceleration": float(factor),
    }
    digest = hashlib.sha256(f"{source or subject} {factor}".encode()).hexdigest()
    stamp = {
        "cmrrecon": "0",
        "acquisition": facts,
        "config": {"method": method, "slices": [0, 1]},
        "inputs": [{"name": "a.mat", "sha256": digest}],
        "effective_acceleration": 0.6 * factor,
        "data_residual": [1.0, 1.1],
        "warnings": [],
        **(extra or {}),
    }
    formats.write_images(made, image.unbind(1), stamp)
    return made
