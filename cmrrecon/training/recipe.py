"""A recipe: one paper as a TOML file. This module defines its sections and their defaults."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from typing import Any, Literal

from cmrrecon.formats.labels import is_normal
from cmrrecon.networks.catalog import get_network
from cmrrecon.tools.configuration import from_mapping
from cmrrecon.tools.devices import Precision
from cmrrecon.tools.errors import InputError, UsageError, suggestion
from cmrrecon.tools.files import read_text
from cmrrecon.training.loss_terms import Losses

RECIPES = files("cmrrecon") / "recipes"
LONGEST = 1 << 14  # bytes; recipes have a few hundred, and tomllib is slow for long keys


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW, whose learning rate is multiplied by `factor` every `step` epochs.

    Attributes
    ----------
    lr : float
        The initial learning rate.
    weight_decay : float
        Weight decay.
    clip : float
        The largest norm of the gradient; 0 switches clipping off.
    step : int
        The number of epochs between changes of the learning rate.
    factor : float
        The factor of each change.
    accumulate : int
        The number of batches whose gradients are accumulated for one step.
    """

    lr: float = 2e-4
    weight_decay: float = 0.01
    clip: float = 0.01
    step: int = 11
    factor: float = 0.1
    accumulate: int = 1


@dataclass(frozen=True, kw_only=True)
class Period:
    """Accelerations that apply from an epoch on, counted from 0."""

    epoch: int
    accelerations: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The masks, which are drawn anew at every access.

    Attributes
    ----------
    patterns, accelerations : tuple
        For every mask one of each is drawn.
    acs : int
        Number of calibration lines; for radial patterns, the side of the central square.
    curriculum : tuple of Period
        Different accelerations in later epochs; the last period that has begun applies. If empty,
        `accelerations` always apply.
    """

    patterns: tuple[str, ...] = ("kt-uniform", "kt-gaussian", "kt-radial")
    accelerations: tuple[float, ...] = (4.0, 8.0, 12.0, 16.0, 20.0, 24.0)
    acs: int = 16
    curriculum: tuple[Period, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Data:
    """The training data and their order.

    Attributes
    ----------
    domain : tuple of str
        The properties of a scan that together make up its domain.
    in_turn : bool
        Whether the domains take turns, sample by sample, as distribution alignment requires;
        otherwise samples are shuffled.
    balance : dict of int
        How often scans with a certain base name (cine_lax, T1map) are used in an epoch; all others
        are used once.
    flip : float
        The probability of each of the two flips.
    gamma : float
        Magnitudes are raised to a random power between 1 / (1 + gamma) and 1 + gamma; phases are
        kept.
    fov : float
        The largest fraction by which the field of view grows; the matrix stays the same.
    coil_dropout : float
        The probability that a coil is lost in all frames.
    noise : float
        The largest standard deviation of the noise that is added to the input but not to the
        target, relative to bright tissue.
    columns : int
        The width of strips to train on; 0 for whole scans. Validation is always on whole scans.
    whole_from : int or None
        The epoch, from 0, that returns to whole scans, so that the network gets used to them.
    validation : float
        The fraction of the subjects that are reserved for validation.
    classes : tuple of str
        The labels that the classifier distinguishes, in this order. Their boxes count as lesions;
        if no label is listed, all boxes do.
    scenes : int
        If positive, train on this number of random scans per epoch (`simulation.random_scans`)
        instead of a store. Each scan is used once. They have coils, noise and masks of their own,
        so everything else in `data` and `sampling` is ignored.
    """

    domain: tuple[str, ...] = ("centre", "vendor")
    in_turn: bool = False
    balance: Mapping[str, int] = field(default_factory=dict)
    flip: float = 0.0
    gamma: float = 0.0
    fov: float = 0.0
    coil_dropout: float = 0.0
    noise: float = 0.0
    columns: int = 0
    whole_from: int | None = None
    validation: float = 0.15
    classes: tuple[str, ...] = ()
    scenes: int = 0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and in what way to train.

    Attributes
    ----------
    epochs : int
        The number of passes over the data.
    windows : int
        The number of windows in an epoch, different ones each time; 0 uses each window once.
    batch : int
        The number of windows with the same matrix in a batch. It is reduced if they do not fit into
        memory. 0 uses the largest number that fits, up to 16.
    average : float
        The decay of the running average of the weights, which is validated and saved. With 0 the
        weights themselves are.
    patience : int
        Training ends after this number of epochs without a better validation score; 0 never ends it
        early.
    save_every : float
        The time in seconds between saves of the state. A killed run loses no more than this.
    precision : str
        The precision of the convolutions. "auto" means "fp32", or "bf16" on a GPU if a window would
        not fit otherwise.
    maps : str
        The coil maps of a window: one set for each "frame", as in reconstruction, or that of the
        "middle" frame for all. It does not affect networks with joint maps of all frames.
    seed : int
        Determines all random choices.
    """

    epochs: int = 12
    windows: int = 0
    batch: int = 1
    average: float = 0.0
    patience: int = 0
    save_every: float = 300.0
    precision: Literal["auto", Precision] = "auto"
    maps: Literal["frame", "middle"] = "frame"
    seed: int = 42


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, and how.

    Attributes
    ----------
    paper : str
        The source.
    network : dict
        Its `name`, and the parameters that differ from the defaults.
    discriminator : dict
        The parameters of the PatchGAN of an adversarial loss that differ from the defaults.
    losses, optimiser, sampling, data, schedule : Losses, Optimiser, Sampling, Data, Schedule
        The sections.
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
        """Return the recipe as plain values for JSON and TOML."""
        return asdict(self)


def names() -> list[str]:
    """Return the names of the recipes in the package."""
    return sorted(
        path.name.removesuffix(".toml") for path in RECIPES.iterdir() if path.name.endswith(".toml")
    )


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe of the package by name, or a TOML file.

    Parameters
    ----------
    name : str
        The name of a recipe, or the path of a file that ends in `.toml`.
    overrides : sequence of str
        Changes of the form `section.key=value`. The value is written as in TOML or is a bare word.

    Raises
    ------
    UsageError
        If there is no such recipe (`unknown-recipe`), or a key or a value is invalid.
    InputError
        If the file cannot be read as TOML (`file-damaged`).
    """
    values = _read(name)
    for text in overrides:
        _override(values, text)
    recipe = from_mapping(Recipe, values, f"recipe {name}")

    if "name" not in recipe.network:
        raise UsageError(
            "network-missing",
            f"The recipe {name} does not name a network",
            "It needs network.name",
            "Choose a name from `cmrrecon models`",
        )

    if get_network(recipe.network["name"]).discriminator:
        raise UsageError(
            "network-kind",
            f"The recipe {name} trains only a discriminator",
            "It needs a network that reconstructs",
            "Change network.name",
        )

    return _with_classes(recipe)


def _with_classes(recipe: Recipe) -> Recipe:
    """Return the recipe with a classifier that has one class per label."""
    labels, name = recipe.data.classes, recipe.network["name"]
    if not (labels or recipe.losses.classification.weight):
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

    given = recipe.network.get("classes", len(labels))
    if not labels or given != len(labels) or any(map(is_normal, labels)):
        raise UsageError(
            "classes-mismatch",
            f"data.classes names {len(labels)} labels ({', '.join(labels)}), "
            f"and network.classes is {given}",
            "The numbers must be equal, and no label may mean that there is no lesion",
            "Change data.classes, and leave out network.classes",
        )
    return replace(recipe, network={**recipe.network, "classes": given})


def _read(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        text = read_text(name, LONGEST)
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
    # Beside its own error, tomllib raises these for long numbers and deep nesting.
    except (ValueError, RecursionError) as error:
        deep = "numbers or nesting beyond all limits"
        reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else deep
        raise InputError(
            "file-damaged",
            f"{name} is not TOML ({reason:.100})",
            "A recipe is a TOML file",
            "Correct the line named above",
        ) from error


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")

    if not (equals and all(parts) and value.strip()):
        raise UsageError(
            "option-value",
            f"--set was given {text!r}",
            "It must have the form section.key=value",
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
    except (ValueError, RecursionError) as error:
        if value.strip()[0] in "[{\"'":
            raise UsageError(
                "option-value",
                f"--set was given {text!r}, whose value is not valid TOML",
                "Lists, tables and quoted strings must be closed",
                "Check brackets and quotes",
            ) from error
        values[parts[-1]] = value.strip()
