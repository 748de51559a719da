"""Folders for temporary files outside of the outputs."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cmrrecon.tools.atomic import output_error
from cmrrecon.tools.strays import owner, remove_strays_once


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide a temporary folder within a `with` block; remove those of dead processes.

    Raises
    ------
    OutputError
        If there is no room for it (`output-unwritable`).
    """
    with ExitStack() as stack:
        try:
            place = Path(tempfile.gettempdir())
            remove_strays_once(place)
            made = tempfile.TemporaryDirectory(prefix=f"cmrrecon-{owner()}-", dir=place)
            folder = stack.enter_context(made)
        except OSError as error:
            raise output_error(Path("The folder for temporary files (TMPDIR)"), error) from error
        yield Path(folder)
