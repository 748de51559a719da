"""Messages of `cmrrecon reconstruct` about its method, its plan and each scan."""

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


def print_methods(requested: bool) -> None:
    """List the methods with their options and exit if requested."""
    if not requested:
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
    """Print the method, and return the members of the records that describe it.

    Parameters
    ----------
    method : Method
        The method.
    options : dataclass
        Checked options of the method.
    device : str
        Device for the computation.
    console : Console
        Where to print.
    by_default : bool
        Whether the default method is used.
    """
    from cmrrecon.methods.base import described

    device_text = device if method.on_gpu else "cpu (this method cannot use a GPU)"
    default = " (the default)" if by_default else ""
    console.say(f"method {method.name}{default}: {method.summary}; device {device_text}")
    return {
        "method": method.name,
        "default_method": by_default,
        "options": described(options),
    }


def plan_record(
    task: "Task", beside: list[Path], name: str, part: Part | None, console: Console
) -> dict[str, Any]:
    """Print what would be done and its predicted cost; return the cost for the record."""
    if part is not None:
        here = ", ".join(map(str, part.among(task.slices)))
        console.say(f"{name}: this shard would do {part}, slices {here}")
    if task.adapt:
        console.say(
            f"{name}: the network would first be adapted to the scan in up to {task.adapt} steps"
        )
    if task.uncertainty:
        console.say(
            f"{name}: uncertainties would be written to {beside[-1]}, which takes "
            f"{task.uncertainty} more reconstructions per slice"
        )

    cost = task.predict()
    if cost is None:
        return {}
    seconds, gigabytes = cost.seconds * len(task.slices), cost.nbytes / 1e9
    teraflops = cost.flops / 1e12
    console.say(
        f"{name}: about {gigabytes:.2g} GB besides libraries and weights, {teraflops:.3g} TFLOP "
        f"per slice, {seconds:.0f} s in total"
    )
    return {
        "predicted": {
            "gigabytes": round(gigabytes, 3),
            "tflop_per_slice": round(teraflops, 4),
            "seconds": round(seconds, 1),
        }
    }


def summary(name: str, record: Mapping[str, Any]) -> str:
    """Return the line about a finished scan: method, effective R, seconds and residual."""
    if record["status"] == "part":
        missing = len(record["slices_missing"])
        return f"{name}: this part is done; other shards still have {missing} slices to do"

    words = [_method(record), _sampling(record), f"{record['seconds']:.1f} s"]
    residuals = [value for value in record["data_residual"] if value is not None]
    if residuals:
        words.append(f"residual {range_text(residuals)}")
    return f"{name}: {', '.join(words)}"


def _method(record: Mapping[str, Any]) -> str:
    """Return the chosen method, such as `kt-unrolled + 29% llr`."""
    choice = record.get("choice")
    if choice is None:
        return str(record["method"])
    partner = choice["partner"]
    blended = f" + {choice['share']:.0%} {partner['method']}" if partner else ""
    return f"{choice['method']}{blended}"


def _sampling(record: Mapping[str, Any]) -> str:
    """Describe the effective R, also over the measured extent if edges of k-space are missing."""
    label = str(record.get("coverage", ""))
    effective = f"effective R {record['effective_acceleration']:g}"
    if label in ("", "undersampled"):
        return effective
    if label == "fully sampled":
        return label
    extent = record["effective_acceleration_extent"]
    edges = label.removeprefix("undersampled, ")
    return f"{edges}, {effective} ({extent:g} over the measured extent)"
