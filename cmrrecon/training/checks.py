"""Check whether a recipe can be trained, before any scan is read."""

from dataclasses import replace
from itertools import chain, product

import torch

from cmrrecon.networks.base import build_network
from cmrrecon.networks.catalog import build
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.sampling.make import make_mask
from cmrrecon.tools.errors import UsageError
from cmrrecon.training.recipe import Recipe, Sampling
from cmrrecon.training.strips import LEAST_COLUMNS

# Side of the matrix for which patterns are tried.
PROBE = 192


def check(recipe: Recipe) -> Recipe:
    """Fill in all parameters of a recipe's networks, and refuse a recipe that cannot work.

    The networks are built without values and all patterns are tried, so that errors are reported
    before scans are read.

    Raises
    ------
    UsageError
        If a parameter of the network or the discriminator, a pattern or a number is invalid, or
        options conflict (`options-conflict`), such as a batch size with the SDA loss.
    """
    name = recipe.network["name"]
    _check_numbers(recipe)

    if recipe.losses.sda.weight and recipe.schedule.batch != 1:
        raise UsageError(
            "options-conflict",
            f"schedule.batch is {recipe.schedule.batch} with the SDA loss",
            "It compares one sample at a time with earlier ones",
            "Leave schedule.batch at 1, or set losses.sda.weight=0",
        )

    with torch.device("meta"):
        network = build_network(
            name, {key: value for key, value in recipe.network.items() if key != "name"}
        )
        discriminator = build("patch-gan", dict(recipe.discriminator))

    if recipe.data.scenes and not isinstance(network, ProblemNetwork):
        raise UsageError(
            "options-conflict",
            f"data.scenes is {recipe.data.scenes} with the network {name}",
            "Random scans are whole series without complete k-space, for networks like kt-unrolled",
            "Set data.scenes=0 and give --data, or train kt-unrolled",
        )

    _check_patterns(recipe.sampling)
    return replace(
        recipe,
        network={"name": name, **network.config},
        discriminator=vars(discriminator)["config"],
    )


def _check_patterns(sampling: Sampling) -> None:
    """Draw a mask for every pattern and acceleration, and refuse recipes for which this fails."""
    periods = [sampling.accelerations, *(each.accelerations for each in sampling.curriculum)]
    for pattern, acceleration in product(sampling.patterns, chain.from_iterable(periods)):
        make_mask(
            pattern,
            frames=1,
            y=PROBE,
            x=PROBE,
            acceleration=acceleration,
            acs=min(sampling.acs, PROBE),
            seed=0,
        )


def _check_numbers(recipe: Recipe) -> None:
    """Refuse numbers out of range."""
    sampling, optimiser, schedule = recipe.sampling, recipe.optimiser, recipe.schedule
    needed = {
        "sampling.patterns": (bool(sampling.patterns), "at least one pattern"),
        "sampling.accelerations": (bool(sampling.accelerations), "at least one acceleration"),
        "sampling.curriculum": (
            all(period.accelerations for period in sampling.curriculum),
            "accelerations in every period",
        ),
        "optimiser.lr": (optimiser.lr > 0, "a positive rate"),
        "optimiser.weight_decay": (optimiser.weight_decay >= 0, "a non-negative number"),
        "optimiser.step": (optimiser.step >= 1, "one epoch or more"),
        "optimiser.accumulate": (optimiser.accumulate >= 1, "one batch or more"),
        "data.columns": (
            recipe.data.columns == 0 or recipe.data.columns >= LEAST_COLUMNS,
            f"0 for whole scans, or at least {LEAST_COLUMNS}",
        ),
        "data.validation": (
            0 <= recipe.data.validation < 1,
            "a fraction of the subjects, from 0 to below 1",
        ),
        "schedule.epochs": (schedule.epochs >= 1, "one epoch or more"),
        "schedule.average": (0 <= schedule.average < 1, "a decay from 0 to below 1"),
    }

    for key, (fits, expected) in needed.items():
        if not fits:
            section, _, name = key.partition(".")
            value = getattr(getattr(recipe, section), name)
            raise UsageError(
                "option-value",
                f"{key} is {value}",
                f"It must be {expected}",
                "Change it in the recipe or with --set",
            )
