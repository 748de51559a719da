"""How tests say which error they expect: by its stable code, never by its sentences."""

import pytest

from cmrrecon.tools.errors import CmrreconError


def refused(code):
    """`with refused("mask-shape"):` passes only if the block raises a `CmrreconError` of that code."""
    return pytest.raises(CmrreconError, check=lambda error: error.code == code)
