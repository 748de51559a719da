import pytest
import torch
from small_networks import SMALL

from cmrrecon.networks import catalog


@pytest.fixture(scope="package")
def networks():
    torch.manual_seed(0)
    return {name: catalog.build(name, config) for name, config in SMALL.items()}


@pytest.fixture(autouse=True)
def gradients_stay_on():
    yield
    assert torch.is_grad_enabled()
