import torch
from torch import nn

from cmrrecon.networks.cost import footprint, speed


def test_operations_and_memory_of_a_convolution():
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False, device="meta")
    cost = footprint(layer, ((2, 3, 8, 10), torch.float32))
    assert cost.flops == 2 * 3 * 5 * 9 * 2 * 80
    assert cost.nbytes == 4 * 2 * 5 * 80


def test_released_memory_is_not_counted_twice():
    class Chain(nn.Module):
        def forward(self, x):
            for _ in range(5):
                x = x + 1
            return x

    class Kept(nn.Module):
        def forward(self, x):
            return torch.stack([x + i for i in range(5)])

    shape = ((100,), torch.float32)
    assert footprint(Chain(), shape).nbytes == 800
    assert footprint(Kept(), shape).nbytes == 10 * 400


def test_views_need_no_memory():
    class View(nn.Module):
        def forward(self, x):
            return x.reshape(10, 10).mT[2:]

    assert footprint(View(), ((100,), torch.float32)).nbytes <= 400


def test_the_measured_speed_is_plausible():
    assert 1e7 < speed(torch.device("cpu"), torch.float32) < 1e14
