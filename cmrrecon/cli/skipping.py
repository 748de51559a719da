"""Files of a tree that are undersampled already, which `undersample` and `preprocess` leave out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmrrecon.cli.console import Console
from cmrrecon.cli.inputs import Job, cost_of

if TYPE_CHECKING:
    from cmrrecon.data import Scan

REASON = "undersampled"


def reason_by_name(path: Path) -> str | None:
    """Why a file counts as undersampled by its official name or folder; None if it does not."""
    from cmrrecon.formats.names import is_sampled_name, is_undersampled_folder

    if is_sampled_name(path):
        return "by its name"
    return "by its folder" if is_undersampled_folder(path) else None


def reason_of(job: Job, scan: "Scan") -> str | None:
    """Why the scan of a job counts as undersampled by what is known of it; None if it does not.

    K-space is not read. Own files store their pattern.
    """
    pattern = scan.acquisition.pattern
    return reason_by_name(job.path) or (None if pattern is None else f"with {pattern}")


def cost_of_full(job: Job) -> int:
    """The predicted cost of a job where undersampled files of a tree cost nothing."""
    return 0 if job.found and reason_by_name(job.path) else cost_of(job)


def skip(job: Job, reason: str, console: Console) -> None:
    """Report a job that is left out."""
    console.say(f"{job.name}: undersampled already, {reason}: skipped")
    console.result({"status": "skipped", "input": job.name, "reason": REASON}, None)


def sum_up(jobs: Sequence[Job], console: Console) -> None:
    """Say how many jobs were left out."""
    left_out = console.counts[REASON]
    if left_out == 0:
        return

    if left_out == len(jobs):
        console.warn(f"nothing was done: all files ({left_out}) are undersampled already")
    else:
        console.say(f"skipped because undersampled already: {left_out} of {len(jobs)} files")
