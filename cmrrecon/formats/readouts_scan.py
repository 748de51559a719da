"""From single readouts to a scan: which are image data, where each lies, what calibrates, what is noise."""

from cmrrecon.data import Scan
from cmrrecon.formats.readouts import Raw


def assemble(raw: Raw, noise: Raw | None = None) -> Scan:
    """The scan that readouts make.

    Parameters
    ----------
    raw : the readouts
    noise : another measurement with noise readouts of the same coils; None: those in `raw`, if any

    Raises
    ------
    InputError : the readouts do not fit together
    """
    raise NotImplementedError
