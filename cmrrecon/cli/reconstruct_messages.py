"""What `cmrrecon reconstruct` says of its method and of its plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmrrecon.cli.console import Console

if TYPE_CHECKING:
    from cmrrecon.methods.base import Method
    from cmrrecon.reconstruction.task import Task


def list_of_methods(asked: bool) -> None:
    """List the methods and their options, and stop, if that was asked for."""
    if asked:
        from cmrrecon.methods.base import described
        from cmrrecon.methods.registry import DEFAULT_METHOD, METHODS, find_method
        from cmrrecon.networks.checkpoints import weights

        for name in (*METHODS, *(path.stem for path in weights.installed())):
            method = find_method(name)
            defaults = " ".join(
                f"{key}={value}" for key, value in described(method.options()).items()
            )
            default = " (default)" if name == DEFAULT_METHOD else ""
            print(f"{name}{default}\t{method.summary}\t{defaults}")
        raise typer.Exit


def tell_method(
    method: "Method", options: Any, where: str, console: Console, *, by_default: bool
) -> dict[str, Any]:
    """Say which method is used; returns what every record says of it.

    Parameters
    ----------
    options : of the method, checked
    where : the device
    by_default : whether nobody chose the method
    """
    from cmrrecon.methods.base import described

    place = where if method.on_gpu else "cpu, the only one it works on"
    default = " (the default)" if by_default else ""
    console.say(f"method {method.name}{default}: {method.summary}; device {place}")
    return {
        "method": method.name,
        "default_method": by_default,
        "options": described(options),
    }


def tell_plan(task: "Task", beside: list[Path], name: str, console: Console) -> dict[str, Any]:
    """Say what would be done and what it would cost; returns the costs for the record."""
    if task.adapt:
        console.say(
            f"{name}: the network would learn on the scan first, for at most {task.adapt} steps"
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
