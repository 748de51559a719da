"""Stores that keep the finished slices of a reconstruction until all are done."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Facts = dict[str, Any]


class Store(ABC):
    """The finished slices of one result, facts about each slice, and a note for all of them.

    Attributes
    ----------
    keeps_maps : bool
        Whether coil maps are kept.
    """

    keeps_maps: bool = False

    @abstractmethod
    def missing(self) -> list[int]:
        """Return the slice numbers that are not finished."""

    @abstractmethod
    def save(self, index: int, layers: Mapping[str, Tensor], facts: Facts) -> None:
        """Keep the layers of slice `index` (tensors by name, including `images`), and its facts."""

    @abstractmethod
    def layer(self, name: str) -> Sequence[Tensor]:
        """Return the tensors of one layer, one per slice; empty if there are none."""

    @abstractmethod
    def facts(self) -> list[Facts]:
        """Return the facts about every slice."""

    @abstractmethod
    def keep_note(self, note: Facts) -> Facts:
        """Keep facts common to all slices, for a run that resumes, unless a note exists already.

        Returns
        -------
        dict
            The note in the store: this one, or the existing one.
        """

    @abstractmethod
    def note(self) -> Facts | None:
        """Return the note that `keep_note` stored; None if there is none."""

    @abstractmethod
    def clear(self) -> None:
        """Delete everything."""


class InMemory(Store):
    """A store in memory, which also keeps coil maps.

    Parameters
    ----------
    slices : sequence of int
        Slice numbers to reconstruct.
    """

    keeps_maps = True

    def __init__(self, slices: Sequence[int]) -> None:
        self.slices = tuple(slices)
        self._kept: dict[int, tuple[dict[str, Tensor], Facts]] = {}
        self._note: Facts | None = None

    def missing(self) -> list[int]:
        return [index for index in self.slices if index not in self._kept]

    def save(self, index: int, layers: Mapping[str, Tensor], facts: Facts) -> None:
        self._kept[index] = {name: tensor.cpu() for name, tensor in layers.items()}, facts

    def layer(self, name: str) -> Sequence[Tensor]:
        kept = [self._kept[index][0] for index in self.slices]
        return [layers[name] for layers in kept] if all(name in layers for layers in kept) else []

    def facts(self) -> list[Facts]:
        return [self._kept[index][1] for index in self.slices]

    def keep_note(self, note: Facts) -> Facts:
        self._note = self._note or note
        return self._note

    def note(self) -> Facts | None:
        return self._note

    def clear(self) -> None:
        self._kept.clear()
        self._note = None
