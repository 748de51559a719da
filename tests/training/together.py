"""Run the program as two processes that train one network: python together.py COMMANDS.

COMMANDS is a JSON list of lists of words, run one after another. One line of JSON is printed for
each: the exit codes, and what both processes wrote to stdout and stderr.
"""

import gc
import json
import os
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import matplotlib.figure  # noqa: F401 - loaded once, before the forks
import torch
import torch._dynamo  # an optimiser loads it, which takes seconds

from cmrrecon.cli.app import main
from cmrrecon.networks import e2e_varnet, genre_cmr, patch_gan  # noqa: F401 - as above
from cmrrecon.training import checks, identity, loop  # noqa: F401 - these load all of training

PROCESSES = 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def live(rank: int, port: int, words: list[str], folder: Path) -> None:
    """Run the program as one of the processes, as torchrun would start it."""
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": PROCESSES,
        "LOCAL_WORLD_SIZE": PROCESSES,
    }
    os.environ |= {
        name: str(value)
        for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()
    }
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}{rank}", os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv[1:] = words
    code = 1
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # a collection in a fork would copy all the memory that it shares
    for words in json.loads(sys.argv[1]):
        with tempfile.TemporaryDirectory() as name:
            folder, port, children = Path(name), free_port(), []
            for rank in range(PROCESSES):
                # A fork of a process that has loaded everything and computed nothing.
                children.append(os.fork())
                if children[-1] == 0:
                    live(rank, port, words, folder)
            codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
            output = {
                what: "".join((folder / f"{what}{rank}").read_text() for rank in range(PROCESSES))
                for what in ("out", "err")
            }
        print(json.dumps({"codes": codes, **output}), flush=True)
