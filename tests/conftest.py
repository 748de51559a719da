"""Where tests find expected values and real data, and a count of tests that lacked data."""

import os
import signal
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent / "golden"
DATA = Path(
    os.environ.get("CMRRECON_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
).resolve()
NO_DATA = "real data not found (CMRRECON_TEST_DATA)"

# Tests run side by side, so spinning OpenMP threads would cost more than they gain.
torch.set_num_threads(1)


# Tests send signals, which shells let their background jobs ignore.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture
def golden() -> Path:
    """The folder of expected values that belong to the project."""
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
    """The script that makes semi-real cine k-space from real pictures.

    Skips the test where the script is absent.
    """
    path = DATA.parent / "tools" / "make_semireal.py"
    if not path.is_file():
        pytest.skip(NO_DATA)
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = sum(
        NO_DATA in str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])
    )
    terminalreporter.write_line(
        f"{skipped} tests skipped for lack of real data "
        f"(searched {DATA.name}, set CMRRECON_TEST_DATA)"
    )
