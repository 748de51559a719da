"""Skip undersampled files in a folder, for `undersample` and `preprocess`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job, cost_of

if TYPE_CHECKING:
    from cmrrecon.data import Scan

REASON = "undersampled"


def reason_by_name(path: Path) -> str | None:
    """Return why the official name or folder marks a file as undersampled; None if it does not."""
    from cmrrecon.formats.names import is_sampled_name, is_undersampled_folder

    if is_sampled_name(path):
        return "according to its name"
    return "according to its folder" if is_undersampled_folder(path) else None


def reason_of(job: Job, scan: "Scan") -> str | None:
    """Return why a scan counts as undersampled; None if it does not.

    K-space is not read. Files that this program undersampled store their pattern.
    """
    pattern = scan.acquisition.pattern
    return reason_by_name(job.path) or (None if pattern is None else f"pattern {pattern}")


def cost_of_full(job: Job) -> int:
    """Return the predicted cost of a job; undersampled files found in a folder cost nothing."""
    return 0 if job.found and reason_by_name(job.path) else cost_of(job)


def skip(job: Job, reason: str, console: Console) -> None:
    """Report a job that is skipped."""
    console.say(f"{job.name}: skipped, already undersampled ({reason})")
    console.result({"status": "skipped", "input": job.name, "reason": REASON}, None)


def report_total(jobs: Sequence[Job], console: Console) -> None:
    """Print the number of jobs that were skipped."""
    skipped = console.counts[REASON]
    if skipped == 0:
        return

    if skipped == len(jobs):
        console.warn(f"nothing was done because all files ({skipped}) are already undersampled")
    else:
        console.say(f"skipped {skipped} of {len(jobs)} files that are already undersampled")
