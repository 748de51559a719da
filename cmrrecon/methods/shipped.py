"""The network that comes with the package."""

from pathlib import Path

from cmrrecon.methods.auto import TrainedNetwork
from cmrrecon.methods.base import Weights
from cmrrecon.networks.checkpoints import weights
from cmrrecon.networks.layers import channels_last
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.tools.provenance import file_digest

NAME = "kt-unrolled"


def shipped_file() -> Path:
    """Return the path of the network's weights, whether or not they are installed."""
    return weights.installed_file(NAME)


def load_shipped() -> TrainedNetwork | None:
    """Load `kt-unrolled` with the installed weights on the CPU; None if there are none."""
    path = shipped_file()
    if not path.is_file():
        return None
    loaded = weights.load(path)
    assert isinstance(loaded.network, ProblemNetwork)
    network = channels_last(loaded.network.eval().requires_grad_(False))
    return TrainedNetwork(NAME, network, Weights(file_digest(path), loaded.metadata))
