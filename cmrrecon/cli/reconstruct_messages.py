"""What `cmrrecon reconstruct` prints about its method, its plan and each scan."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmrrecon.cli.console import Console
from cmrrecon.cli.settings import range_text
from cmrrecon.cli.shards import Part

if TYPE_CHECKING:
    from cmrrecon.methods.base import Method
    from cmrrecon.reconstruction.task import Task


def list_of_methods(asked: bool) -> None:
    """List the methods and their options, and stop, if that was asked for."""
    if not asked:
        return
    from cmrrecon.methods.base import described
    from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS, find_method
    from cmrrecon.networks.checkpoints import weights

    for name in (*METHODS, *(path.stem for path in weights.installed())):
        method = find_method(name)
        defaults = " ".join(f"{key}={value}" for key, value in described(method.options()).items())
        default = " (default)" if name == DEFAULT_METHOD else ""
        print(f"{name}{default}\t{method.summary}\t{defaults}")
    raise typer.Exit


def method_record(
    method: "Method", options: Any, device: str, console: Console, *, by_default: bool
) -> dict[str, Any]:
    """Say which method is used; returns the members of every record that describe it.

    Parameters
    ----------
    method : Method
        The method.
    options : dataclass
        Its options, checked.
    device : str
        Where it computes.
    console : Console
        Where it is said.
    by_default : bool
        Whether nobody chose the method.
    """
    from cmrrecon.methods.base import described

    place = device if method.on_gpu else "cpu, the only one it works on"
    default = " (the default)" if by_default else ""
    console.say(f"method {method.name}{default}: {method.summary}; device {place}")
    return {
        "method": method.name,
        "default_method": by_default,
        "options": described(options),
    }


def plan_record(
    task: "Task", beside: list[Path], name: str, part: Part | None, console: Console
) -> dict[str, Any]:
    """Say what would be done and what it would cost; returns the costs for the record."""
    if part is not None:
        here = ", ".join(map(str, part.among(task.slices)))
        console.say(f"{name}: {part} would be done here, slices {here}")
    if task.adapt:
        console.say(
            f"{name}: the network would first be adapted to the scan, in up to {task.adapt} steps"
        )
    if beside:
        console.say(
            f"{name}: uncertainties would go to {beside[0]}, for {task.uncertainty} more "
            "reconstructions a slice"
        )

    cost = task.predict()
    if cost is None:
        return {}
    seconds, gigabytes = cost.seconds * len(task.slices), cost.nbytes / 1e9
    teraflops = cost.flops / 1e12
    console.say(
        f"{name}: about {gigabytes:.2g} GB beside libraries and weights, {teraflops:.3g} TFLOP a "
        f"slice, {seconds:.0f} s in all"
    )
    return {
        "predicted": {
            "gigabytes": round(gigabytes, 3),
            "tflop_per_slice": round(teraflops, 4),
            "seconds": round(seconds, 1),
        }
    }


def summary(name: str, record: Mapping[str, Any]) -> str:
    """The line about a finished scan: method, effective R, seconds and residual."""
    if record["status"] == "part":
        missing = len(record["slices_missing"])
        return f"{name}: this part is done; {missing} slices of other shards are missing"

    words = [_method(record), _sampling(record), f"{record['seconds']:.1f} s"]
    residuals = [value for value in record["data_residual"] if value is not None]
    if residuals:
        words.append(f"residual {range_text(residuals)}")
    return f"{name}: {', '.join(words)}"


def _method(record: Mapping[str, Any]) -> str:
    """The method that was decided on, such as `kt-unrolled + 29% llr`."""
    choice = record.get("choice")
    if choice is None:
        return str(record["method"])
    partner = choice["partner"]
    blended = f" + {choice['share']:.0%} {partner['method']}" if partner else ""
    return f"{choice['method']}{blended}"


def _sampling(record: Mapping[str, Any]) -> str:
    """The effective R; over the measured extent too where edges of k-space are missing."""
    label = str(record.get("coverage", ""))
    effective = f"effective R {record['effective_acceleration']:g}"
    if label in ("", "undersampled"):
        return effective
    if label == "fully sampled":
        return label
    extent = record["effective_acceleration_extent"]
    edges = label.removeprefix("undersampled, ")
    return f"{edges}, {effective} ({extent:g} over the measured extent)"
