"""How tests state which error they expect: by its stable code, never by its sentences."""

import pytest

from cmrrecon.tools.errors import CmrreconError


def refused(code):
    """Pass only if the block raises a `CmrreconError` with this code.

    Use it as `with refused("mask-shape"):`.
    """
    return pytest.raises(CmrreconError, check=lambda error: error.code == code)
