"""The state dicts of other programs that can be loaded, and how to recognise them.

A layout is a module with the members of `Layout`. Each is asked in turn.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from cmrrecon.networks.checkpoints import promptmr_layout, sdum_layout, vsharp_layout
from cmrrecon.networks.checkpoints.facts import Given, Inferred, Shapes, unused_release
from cmrrecon.networks.checkpoints.filling import SHOWN
from cmrrecon.tools.errors import InputError, UsageError, suggestion


class Layout(Protocol):
    """A layout of state dicts.

    Attributes
    ----------
    TITLE : str
        The networks of this layout, for lists.
    PRESETS : mapping of str to mapping
        Configurations of releases by name, with the content that their YAML files have.
    """

    TITLE: str
    PRESETS: Mapping[str, Mapping[str, Any]]

    def recognises(self, shapes: Shapes) -> bool:
        """Return whether the names are those of this layout, even if some are missing."""

    def infer(self, shapes: Shapes, given: Given) -> Inferred:
        """Infer the network and its configuration, or refuse the checkpoint."""


LAYOUTS: tuple[Layout, ...] = (promptmr_layout, sdum_layout, vsharp_layout)
# Networks that are not built here, by the beginnings of their names.
OTHERS = {
    "bcrnn.": "CRNN-MRI",
}


def infer(shapes: Shapes, given: Given) -> Inferred:
    """Infer the network of a state dict and its configuration.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        The shape of every tensor by name, without the prefixes of wrappers.
    given : Given
        What else is known.

    Raises
    ------
    InputError
        If it is none of these networks, or incomplete (`checkpoint-mismatch`).
    UsageError
        If a release was given for a network that needs none (`release-unused`).
    """
    for layout in LAYOUTS:
        if layout.recognises(shapes):
            if isinstance(given.release, Mapping) and not layout.PRESETS:
                raise unused_release(given.source)
            return layout.infer(shapes, given)

    raise InputError(
        "checkpoint-mismatch",
        f"{given.source} holds the weights of {title(shapes)}",
        "Published weights load for PromptMR, PromptMR+, vSHARP and SDUM",
        "Give such a file, or one that cmrrecon wrote",
    )


def title(shapes: Shapes) -> str:
    """Return which networks have tensors with these names, or that none of ours has."""
    for layout in LAYOUTS:
        if layout.recognises(shapes):
            return layout.TITLE
    for start, name in OTHERS.items():
        if any(key.startswith(start) for key in shapes):
            return f"{name}, which is not among our networks"
    return f"an unknown network, with tensors such as {next(iter(shapes), 'none'):.{SHOWN}}"


def preset(name: str) -> Mapping[str, Any]:
    """Return the configuration of a release by its name.

    Raises
    ------
    UsageError
        If there is no such preset (`unknown-preset`).
    """
    presets = {key: value for layout in LAYOUTS for key, value in layout.PRESETS.items()}
    if name not in presets:
        raise UsageError(
            "unknown-preset",
            f"There is no preset {name!r}",
            f"The presets are: {', '.join(presets)}",
            suggestion(name, presets, "Choose one of them, or give the YAML file of the release"),
        )
    return presets[name]


def renamed(tensors: Mapping[str, Any], inferred: Inferred, source: str) -> dict[str, Any]:
    """Return the tensors under our names.

    Raises
    ------
    InputError
        If two tensors have the same name (`checkpoint-mismatch`).
    """
    ours = {inferred.names.get(key, key): value for key, value in tensors.items()}
    if len(ours) < len(tensors):
        raise InputError(
            "checkpoint-mismatch",
            f"{source} has a tensor twice, under names of different versions",
            "A state dict contains each tensor once",
            "Save the state dict of the network alone",
        )
    return ours
