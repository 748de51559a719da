"""Images whose value at every pixel follows from its place in the patient, for NIfTI and DICOM."""

from dataclasses import asdict

import numpy as np
import torch

from cmrrecon.data import Geometry
from cmrrecon.reconstruction.result import Result
from cmrrecon.tools import provenance

Y, X = 12, 10
VOXEL = (1.5, 2.0, 8.0)
CENTRE = (10.0, -30.0, 55.0)


def value_at(place, frame=0):
    """The value at places (..., 3) in LPS mm: different along every axis, and no symmetry."""
    x, y, z = np.moveaxis(np.asarray(place), -1, 0)
    return 1e-7 * (2000 + 3 * x + 5 * y + 7 * z + 20 * frame)


def turned():
    """The columns are oblique unit vectors of increasing x, y and slice."""
    turn = np.linalg.qr(np.array([[0.7, -0.5, 0.3], [0.4, 0.8, 0.2], [-0.5, 0.1, 0.9]]))[0]
    return turn * np.sign(np.diag(turn))


def geometry(frames, slices, axes, order=None):
    """Slices 8 mm apart, with 40 ms from frame to frame."""
    x, y, across = np.array(axes).T
    positions = [np.array(CENTRE) + 8 * number * across for number in order or range(slices)]
    return Geometry(
        VOXEL,
        tuple(tuple(map(float, place)) for place in positions),
        tuple(tuple(tuple(map(float, axis)) for axis in (y, x, across)) for _ in positions),
        tuple(12 + 40.0 * frame for frame in range(frames)),
    )


def images_of(known):
    """The images of a geometry: one float32 tensor (frame, y, x) per slice."""
    rows, columns = np.mgrid[:Y, :X]
    made = []
    for position, (y, x, _) in zip(known.positions_mm, known.directions, strict=True):
        down = (rows - Y // 2)[..., None] * VOXEL[0] * np.array(y)
        right = (columns - X // 2)[..., None] * VOXEL[1] * np.array(x)
        frames = [
            value_at(np.array(position) + down + right, frame)
            for frame in range(len(known.frame_times_ms))
        ]
        made.append(torch.from_numpy(np.stack(frames).astype(np.float32)))
    return made


def result_of(known, images=None, *, method="auto", inputs=(), **acquisition):
    """A result with this geometry, as if reconstructed from files with these digests."""
    images = images_of(known) if images is None else images
    facts = {"modality": "Cine", "field_strength": 1.5, **acquisition}
    stamp = provenance.make(
        ["cmrrecon", "reconstruct", "SMITH_JOHN.mat"],
        config={"method": method, "options": {}},
        inputs=[],
        acquisition=facts,
        geometry=None if known is None else asdict(known),
    )
    stamp["inputs"] = [{"name": "SMITH_JOHN.mat", "sha256": digest} for digest in inputs]
    return Result(images, tuple(range(len(images))), provenance=stamp, geometry=known)


def standard(frames=2, slices=3):
    """An oblique result with a right-handed stack."""
    return result_of(geometry(frames, slices, turned()), inputs=("a" * 64,))
