"""A recipe: one paper as one TOML file. Here is what it may say, with the values that hold where it is silent."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from cmrrecon.formats.labels import is_normal
from cmrrecon.networks.catalog import get_network
from cmrrecon.tools.configuration import from_mapping
from cmrrecon.tools.devices import Precision
from cmrrecon.tools.errors import InputError, UsageError, suggestion
from cmrrecon.tools.files import input_error
from cmrrecon.training.loss_terms import Losses

RECIPES = files("cmrrecon") / "recipes"


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW; the rate falls by `factor` every `step` epochs.

    Attributes
    ----------
    clip : the largest norm of the gradient; 0: not clipped
    accumulate : batches whose gradients make one step
    """

    lr: float = 2e-4
    weight_decay: float = 0.01
    clip: float = 0.01
    step: int = 11
    factor: float = 0.1
    accumulate: int = 1


@dataclass(frozen=True, kw_only=True)
class Period:
    """From this epoch on, counted from 0, these accelerations."""

    epoch: int
    accelerations: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Masks, drawn anew at every access.

    Attributes
    ----------
    patterns, accelerations : one of each is drawn
    acs : calibration lines, of radial patterns the side of the square
    curriculum : other accelerations by epoch, the last period that has begun holds; empty: `accelerations` all the time
    """

    patterns: tuple[str, ...] = ("kt-uniform", "kt-gaussian", "kt-radial")
    accelerations: tuple[float, ...] = (4.0, 8.0, 12.0, 16.0, 20.0, 24.0)
    acs: int = 16
    curriculum: tuple[Period, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is seen, and in which order.

    Attributes
    ----------
    domain : facts of a scan that together name its domain
    in_turn : one sample of each domain after the other, as distribution alignment needs it; else shuffled
    balance : how often scans of a base name (cine_lax, T1map) are seen in an epoch; others once
    flip : probability of each of both flips
    gamma : images brightened by exponents from 1 / (1 + gamma) to 1 + gamma, phases kept
    fov : the field of view grows by at most this part, the matrix stays
    coil_dropout : probability of each coil to be lost, in all frames
    noise : at most this standard deviation of noise is added to what is measured, not to the target, on the scale of bright tissue
    validation : the part of the subjects that is not trained on
    classes : the labels that a classifier tells, in this order; they also say whose boxes are lesions, all boxes if there are none
    scenes : learn from so many random scans an epoch (`simulation.random_scans`), each seen once, and from no store. They have coils,
        noise and masks of their own, so that nothing else of `data` and `sampling` counts
    """

    domain: tuple[str, ...] = ("centre", "vendor")
    in_turn: bool = False
    balance: Mapping[str, int] = field(default_factory=dict)
    flip: float = 0.0
    gamma: float = 0.0
    fov: float = 0.0
    coil_dropout: float = 0.0
    noise: float = 0.0
    validation: float = 0.15
    classes: tuple[str, ...] = ()
    scenes: int = 0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how.

    Attributes
    ----------
    epochs : passes over the data
    windows : how many windows make an epoch, each time others; 0: all of them once
    batch : windows of the same matrix that make a batch, fewer where they do not fit into the memory; 0: as many as fit, at most 16
    average : memory of the running average of the weights that is validated and shipped; 0: the weights themselves
    patience : epochs without a better validation after which training ends; 0: never
    save_every : seconds after which the state is saved anew: what a killed run loses at most
    precision : of the convolutions; "auto" is "fp32", or on a GPU "bf16" if a window does not fit otherwise
    seed : of everything that is drawn
    """

    epochs: int = 12
    windows: int = 0
    batch: int = 1
    average: float = 0.0
    patience: int = 0
    save_every: float = 300.0
    precision: Literal["auto", Precision] = "auto"
    seed: int = 42


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """See the module.

    Attributes
    ----------
    paper : the source
    network : its `name`, and its parameters where they are not the default
    discriminator : parameters of the PatchGAN of an adversarial loss, where they are not the default
    """

    paper: str = ""
    network: Mapping[str, Any]
    discriminator: Mapping[str, Any] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    optimiser: Optimiser = Optimiser()
    sampling: Sampling = Sampling()
    data: Data = Data()
    schedule: Schedule = Schedule()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, and for TOML."""
        return asdict(self)


def names() -> list[str]:
    """The recipes of the package."""
    return sorted(
        path.name.removesuffix(".toml") for path in RECIPES.iterdir() if path.name.endswith(".toml")
    )


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of the package by name, or a TOML file, with `section.key=value` overrides, value as in TOML (or a bare word).

    Raises
    ------
    UsageError : no such recipe, an unknown key, or a value of the wrong kind
    InputError : the file cannot be read as TOML
    """
    values = _read(name)
    for text in overrides:
        _override(values, text)
    recipe = from_mapping(Recipe, values, f"recipe {name}")

    if "name" not in recipe.network:
        raise UsageError(
            "network-missing",
            f"The recipe {name} names no network",
            "It needs network.name",
            "Take the name from `cmrrecon models`",
        )

    if get_network(recipe.network["name"]).discriminator:
        raise UsageError(
            "network-kind",
            f"The recipe {name} trains a discriminator alone",
            "It needs a network that reconstructs",
            "Change network.name",
        )

    return _with_classes(recipe)


def _with_classes(recipe: Recipe) -> Recipe:
    """The recipe with a classifier of as many classes as its labels name."""
    wanted, name = recipe.data.classes, recipe.network["name"]
    if not (wanted or recipe.losses.classification.weight):
        return recipe

    if "classes" not in get_network(name).options():
        if recipe.losses.classification.weight:
            raise UsageError(
                "classifier-missing",
                f"The network {name} has no classifier",
                "losses.classification trains one",
                "Set its weight to 0",
            )
        return recipe

    given = recipe.network.get("classes", len(wanted))
    if not wanted or given != len(wanted) or any(map(is_normal, wanted)):
        raise UsageError(
            "classes-mismatch",
            f"data.classes names {len(wanted)} labels ({', '.join(wanted)}), and network.classes is {given}",
            "They must be as many, none of them saying that there is nothing",
            "Change data.classes, and leave network.classes out",
        )
    return replace(recipe, network={**recipe.network, "classes": given})


def _read(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise input_error(path, error) from error
        except UnicodeDecodeError as error:
            raise InputError(
                "file-damaged",
                f"{name} is not UTF-8",
                "A recipe is a TOML file",
                "Give a text file",
            ) from error
    elif name in names():
        text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise UsageError(
            "unknown-recipe",
            f"There is no recipe {name!r}",
            f"The recipes are: {', '.join(names())}",
            suggestion(name, names(), "Choose one, or give a .toml file"),
        )

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            "file-damaged",
            f"{name} is not TOML ({error})",
            "A recipe is a TOML file",
            "Mend the line that is named",
        ) from error


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")

    if not (equals and all(parts) and value.strip()):
        raise UsageError(
            "option-value",
            f"--set was given {text!r}",
            "It wants section.key=value",
            "Write for example --set losses.sda.weight=0",
        )

    for part in parts[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise UsageError(
                "option-value",
                f"--set was given {text!r}",
                f"{part} is a value, not a section",
                "Check the key with --print-config",
            )

    try:
        values[parts[-1]] = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError as error:
        if value.strip()[0] in "[{\"'":
            raise UsageError(
                "option-value",
                f"--set was given {text!r}, whose value is no TOML",
                "Lists, tables and quoted words must be closed",
                "Check the brackets",
            ) from error
        values[parts[-1]] = value.strip()
