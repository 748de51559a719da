"""Run the program in processes that kill themselves (SIGKILL): python dying.py JOBS.

JOBS is a JSON list of [points, words]; the processes of a job run one after another. A point is
`function:when:count[:file]`. The process dies at this call of the function (counting calls for
this file), before it, after it, or during it, when the file is half-written. One line of JSON is
printed per job: for each process, the negative signal that ended it, or its exit code.
"""

import gc
import io
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401 - loaded once, before the forks
import torch
import torch._dynamo  # an optimiser loads it, which takes seconds

from cmrrecon.cli.app import main
from cmrrecon.networks import e2e_varnet, genre_cmr, patch_gan  # noqa: F401 - as above
from cmrrecon.networks.checkpoints import weights
from cmrrecon.tools import atomic
from cmrrecon.training import checks, identity, loop, objective, state  # noqa: F401 - as above

PLACES: dict[str, tuple[Any, str]] = {
    "take_step": (loop, "take_step"),
    "judge": (objective.Objective, "judge"),
    "update": (state.Run, "update"),
    "validate": (loop, "validate"),
    "save": (torch, "save"),
    "synchronise": (atomic, "_synchronise"),
    "replace": (os, "replace"),
    "save_weights": (weights, "save"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_half(thing: Any, path: Path) -> None:
    """Write what `torch.save` leaves when it dies in the middle."""
    whole = io.BytesIO()
    torch.serialization.save(thing, whole)
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


def lethal(function: Callable[..., Any], when: str, count: int, file: str) -> Callable[..., Any]:
    """Make a function kill its process at one of its calls."""
    calls = itertools.count(1)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        concerned = not file or Path(arguments[-1]).name.removeprefix(".").startswith(file)
        if not concerned or next(calls) != count:
            return function(*arguments, **named)
        if when == "during":
            write_half(*arguments)
        if when == "after":
            function(*arguments, **named)
        return die()

    return wrapped


def live(point: str) -> None:
    """Run the program up to a point."""
    name, when, count, *file = point.split(":")
    owner, attribute = PLACES[name]
    setattr(owner, attribute, lethal(getattr(owner, attribute), when, int(count), "".join(file)))
    try:
        main()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # a collection in a fork would copy all the memory that it shares
    for points, words in json.loads(sys.argv[1]):
        ends = []
        for point in points:
            # A fork of a process that has loaded everything and computed nothing equals a new
            # process, without the time to load.
            child = os.fork()
            if child == 0:
                sys.argv[1:] = words
                os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
                live(point)
            ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(json.dumps(ends), flush=True)
