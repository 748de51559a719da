"""Where tests find expected values and real data, and how many had to be skipped for lack of the latter."""

import os
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"
DATA = Path(
    os.environ.get("CMRRECON_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
).resolve()
NO_DATA = "real data not found (CMRRECON_TEST_DATA)"

# The tests share the machine with each other: spinning OpenMP threads would cost more than they give.
torch.set_num_threads(1)


@pytest.fixture
def golden() -> Path:
    """The expected values that travel with the project."""
    return GOLDEN


@pytest.fixture
def real_data() -> Path:
    """The folder of real measured data; skips the test where it is absent."""
    if not DATA.is_dir():
        pytest.skip(NO_DATA)
    return DATA


@pytest.fixture
def all_golden() -> Path:
    """The full set of expected values beside the real data; skips the test where it is absent."""
    if not (DATA.parent / "golden").is_dir():
        pytest.skip(NO_DATA)
    return DATA.parent / "golden"


@pytest.fixture
def semireal_tool() -> Path:
    """The script that makes semi-real cine k-space from real pictures; skips the test where it is absent."""
    path = DATA.parent / "tools" / "make_semireal.py"
    if not path.is_file():
        pytest.skip(NO_DATA)
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = sum(
        NO_DATA in str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])
    )
    terminalreporter.write_line(
        f"{skipped} tests skipped for lack of real data (searched {DATA.name}, set CMRRECON_TEST_DATA)"
    )
