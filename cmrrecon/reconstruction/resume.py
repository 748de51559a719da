"""Finished slices of an output that is not finished yet, so that a killed run loses one slice at most."""

import glob
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from cmrrecon.tools.atomic import atomic, output_error


class Parts(Sequence[Tensor]):
    """The slices of one result, each in its own file in a hidden folder beside the output.

    The folder's name holds the recipe, so only the same recipe goes on from there. As a sequence it
    gives slice after slice (frame, y, x), mapped from disk rather than held in memory.
    """

    def __init__(self, output: Path, recipe: str, slices: Sequence[int]) -> None:
        self.folder = output.parent / f".{output.name}.{recipe[:12]}.parts"
        self.slices = tuple(slices)

    def _file(self, index: int) -> Path:
        return self.folder / f"slice-{index:04d}.npy"

    def missing(self) -> list[int]:
        """The scan's slice numbers that are not finished."""
        return [z for z in self.slices if not self._file(z).exists()]

    def anything(self) -> bool:
        """Whether a slice is finished, or what they are made with is known."""
        return len(self.missing()) < len(self) or self._note.exists()

    def save(self, index: int, images: Tensor, facts: Mapping[str, Any] | None = None) -> None:
        """Store the images (frame, y, x) of the scan's slice `index`, and what is to be known of them."""
        with atomic(self._facts(index)) as temporary:
            temporary.write_text(json.dumps(dict(facts or {})))
        with atomic(self._file(index)) as temporary, open(temporary, "wb") as file:
            np.save(file, images.cpu().numpy())

    def facts(self) -> list[dict[str, Any]]:
        """What `save` was told of every slice.

        Raises
        ------
        OutputError : they are gone, for instance because another process has finished the same output
        """
        try:
            return [json.loads(self._facts(index).read_text()) for index in self.slices]
        except OSError as error:
            raise output_error(self.folder, error) from error

    def _facts(self, index: int) -> Path:
        return self.folder / f"slice-{index:04d}.json"

    def keep_note(self, note: Mapping[str, Any]) -> None:
        """Store what the slices are made with, for the run that goes on."""
        with atomic(self._note) as temporary:
            temporary.write_text(json.dumps(note))

    def note(self) -> dict[str, Any] | None:
        """What `keep_note` stored."""
        kept: dict[str, Any] | None = json.loads(self._note.read_text()) if self._note.exists() else None
        return kept

    @property
    def _note(self) -> Path:
        return self.folder / "note.json"

    def remove(self) -> None:
        """Forget all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def forget(output: Path) -> None:
        """Remove what any run left behind for an output that is finished now."""
        for folder in output.absolute().parent.glob(f".{glob.escape(output.name)}.*.parts"):
            shutil.rmtree(folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.slices)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return torch.from_numpy(np.load(self._file(self.slices[index]), mmap_mode="c", allow_pickle=False))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))
