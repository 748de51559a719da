"""A tiny scan of several slices, and a count of reads and map estimates."""

from dataclasses import replace

import pytest

from cmrrecon.classical import prepared
from cmrrecon.sampling import undersample
from cmrrecon.simulation import simulate


@pytest.fixture(scope="session")
def scan():
    """Three slices of 3 frames, 3 coils, 48 x 48, undersampled, without a noise measurement."""
    made = simulate("cine", frames=3, slices=3, coils=3, y=48, x=48, seed=1).scan
    return undersample(made, "kt-gaussian", 4, acs=12, seed=1)


@pytest.fixture
def counted(scan, monkeypatch):
    """The scan, with its slice reads and ESPIRiT calls in order."""
    read, calibrated, espirit = [], [], prepared.estimate_coils

    def read_slice(index):
        read.append(index)
        return scan.read_slice(index)

    def estimate_coils(series, virtual=None):
        calibrated.append(virtual)
        return espirit(series, virtual)

    monkeypatch.setattr(prepared, "estimate_coils", estimate_coils)
    return replace(scan, read_slice=read_slice), read, calibrated
