"""Write a result to standard output, which formats that seek cannot do themselves."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmrrecon.cli.inputs import STREAM
from cmrrecon.tools.errors import OutputError
from cmrrecon.tools.scratch import scratch_folder


@contextmanager
def local_output(target: Path) -> Iterator[Path]:
    """Provide the file to write; for stdout, a temporary `.h5` that is copied there afterwards."""
    if str(target) != STREAM:
        yield target
        return

    with scratch_folder() as folder:
        path = folder / "stdout.h5"
        yield path
        try:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                "output-unwritable",
                f"Cannot write to standard output ({error.strerror})",
                "The result should be written there",
                "Free some space, or name a file with -o",
            ) from error
