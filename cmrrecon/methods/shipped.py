"""The network that comes with the package."""

from functools import lru_cache

from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.kt_unrolled import KtUnrolled
from cmrrecon.networks.layers import channels_last
from cmrrecon.tools.provenance import file_digest

NAME = "kt-unrolled"
FILE = weights.installed_file(NAME)


@lru_cache(maxsize=1)
def shipped_network() -> KtUnrolled | None:
    """`kt-unrolled` with the installed weights, on the device where it was used last; None if there are none."""
    if not FILE.is_file():
        return None
    network = weights.load(FILE).network
    assert isinstance(network, KtUnrolled)
    return channels_last(network.eval().requires_grad_(False))


@lru_cache(maxsize=1)
def shipped_digest() -> str | None:
    """SHA-256 of the installed weights' file; None if there is none."""
    return file_digest(FILE) if FILE.is_file() else None
