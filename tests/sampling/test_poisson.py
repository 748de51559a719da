import subprocess
import sys

import numpy as np
import pytest
import torch
from kinds import mask_of
from refusals import refused

from cmrrecon.sampling import make_mask


def poisson(y=64, x=80, acceleration=4.0, acs=12, seed=1):
    return make_mask("poisson", frames=5, y=y, x=x, acceleration=acceleration, acs=acs, seed=seed)


@pytest.mark.parametrize(
    ("y", "x", "acceleration", "acs"),
    [(64, 80, 4, 12), (49, 65, 2.5, 15), (48, 90, 6, 0), (100, 200, 16, 8)],
)
def test_r_counts_all_samples_and_is_met_within_10_percent(y, x, acceleration, acs):
    mask = poisson(y, x, acceleration, acs)
    assert mask.shape == (1, y, x)
    assert abs(mask_of(mask).effective_acceleration() / acceleration - 1) < 0.11


def test_samples_are_denser_at_the_centre():
    mask = poisson(acs=0).double()[0]
    assert mask[24:40, 30:50].mean() > 2 * mask.mean()


def test_the_seed_determines_the_mask_and_the_global_generator_is_untouched():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random_sample(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    first, again, other = poisson(seed=1), poisson(seed=1), poisson(seed=2)
    assert np.array_equal(np.random.random_sample(3), expected)  # noqa: NPY002
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_small_grids_with_high_r_do_not_hang():
    # SigPy's default tolerance (0.1) is finer than one sample here, so its search never ends.
    program = (
        "from cmrrecon.sampling import make_mask\n"
        "for seed in (2, 6):\n"
        "    make_mask('poisson', frames=1, y=33, x=130, acceleration=20, acs=6, seed=seed)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "arguments",
    [
        {"acceleration": 1},
        {"acceleration": 1.9},
        {"acceleration": 30},
        {"acs": 40},
        {"y": 20, "x": 400, "acs": 20},
        {"y": 1, "x": 4000, "acceleration": 1, "acs": 0},
    ],
)
def test_masks_that_sigpy_would_search_forever_are_refused_immediately(arguments):
    with refused("mask-impossible"):
        poisson(**arguments)


def test_a_density_that_sigpy_cannot_find_is_a_usage_error():
    with refused("mask-impossible"):
        poisson(y=28, x=31, acceleration=3.0417963850454495, acs=8, seed=8161)
