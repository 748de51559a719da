import pytest
import torch
from torch import Tensor

from cmrrecon.data import Acquisition, Scan


@pytest.fixture
def scan() -> Scan:
    """A small undersampled cine scan: 3 frames, 2 slices, 4 coils, 10 lines, 12 samples."""
    generator = torch.Generator().manual_seed(1)
    kspace = torch.randn(3, 2, 4, 10, 12, dtype=torch.complex64, generator=generator)
    mask = torch.rand(3, 10, 1, generator=generator) > 0.5
    mask[:, 4:6] = True
    facts = Acquisition(
        "cine_sax", "Cine", 2025, "Center001", "UIH_30T_umr780", "P001", "kt-gaussian", 4.0, 2, 7
    )
    return Scan.from_kspace(kspace * mask[:, None, None], mask, facts)


@pytest.fixture
def images() -> Tensor:
    """Complex images (slice, frame, y, x)."""
    return torch.randn(
        2, 3, 10, 12, dtype=torch.complex64, generator=torch.Generator().manual_seed(2)
    )


@pytest.fixture
def stamp() -> dict[str, object]:
    """A provenance."""
    return {
        "config": {"method": "sense", "name": "Zoë"},
        "inputs": [{"name": "a.mat", "sha256": "00"}],
        "seed": None,
    }
