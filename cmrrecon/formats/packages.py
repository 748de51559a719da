"""Loads packages that only some formats need."""

import importlib
from typing import Any

from cmrrecon.tools.errors import UsageError


def optional(package: str, extra: str, what: str) -> Any:
    """Return a package that an extra installs.

    Parameters
    ----------
    package : str
        Name of the package.
    extra : str
        Name of the extra that contains it.
    what : str
        What needs the package, for the message: `x.nii is a NIfTI file`.

    Raises
    ------
    UsageError
        If the package is not installed (`package-missing`).
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(
            "package-missing",
            f"{what}, which needs the package {package}",
            f"The extra {extra}, which contains {package}, must be installed",
            f"Run pip install 'cmrrecon[{extra}]', or use another format",
        ) from error
