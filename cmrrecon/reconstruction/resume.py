"""Store finished slices next to the output file, so that a killed run loses at most one slice."""

import glob
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from cmrrecon.reconstruction.store import Facts, Store
from cmrrecon.tools.atomic import atomic, output_error, put_first
from cmrrecon.tools.errors import MemoryShortage, OutputError
from cmrrecon.tools.strays import short, temporary_name


class Parts(Sequence[Tensor]):
    """One tensor per slice, each in its own file in a hidden folder next to the output file.

    The name of the folder contains the recipe, so only a run with the same recipe continues from
    it. The items of the sequence are mapped from disk instead of loaded into memory.

    Parameters
    ----------
    output : Path
        The file that the slices will become.
    recipe : str
        Digest of everything that determines the result.
    slices : sequence of int
        Slice numbers in the scan.
    """

    def __init__(self, output: Path, recipe: str, slices: Sequence[int]) -> None:
        self.folder = output.parent / f".{short(output.name)}.{recipe[:12]}.parts"
        self.slices = tuple(slices)

    def path(self, index: int, suffix: str = "npy") -> Path:
        """Return the file of slice `index`."""
        return self.folder / f"slice-{index:04d}.{suffix}"

    def missing(self) -> list[int]:
        """Return the slice numbers that are not finished, or whose files are damaged."""
        return [z for place, z in enumerate(self.slices) if not self._is_whole(place)]

    def _is_whole(self, place: int) -> bool:
        try:
            return self[place] is not None
        except (OutputError, OSError, ValueError, EOFError):
            return False

    def save(self, index: int, tensor: Tensor) -> None:
        """Store the tensor of slice `index`."""
        path = self.path(index)
        with _loss_noticed(self.folder), atomic(path) as temporary, open(temporary, "wb") as file:
            np.save(file, tensor.cpu().numpy())

    def remove(self) -> None:
        """Delete all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def forget(output: Path) -> None:
        """Delete the parts that any run left for an output that is now finished."""
        for folder in output.absolute().parent.glob(f".{glob.escape(short(output.name))}.*.parts"):
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
        with _loss_noticed(self.folder):
            stored = np.load(self.path(self.slices[index]), mmap_mode="c", allow_pickle=False)
        return torch.from_numpy(stored)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))


class OnDisk(Store):
    """A store next to the output file; it does not keep coil maps.

    Parameters
    ----------
    outputs : Mapping of str to Path
        For each layer (`images`, `uncertainty`), the file that it will become.
    recipe : str
        See `Parts`.
    slices : sequence of int
        See `Parts`.
    """

    def __init__(self, outputs: Mapping[str, Path], recipe: str, slices: Sequence[int]) -> None:
        self.layers = {name: Parts(path, recipe, slices) for name, path in outputs.items()}
        self.images = self.layers["images"]
        self._refuse_links()
        if self._note.exists() and not _has_facts(self._note):
            # All slices depend on the note.
            self.clear()

    def missing(self) -> list[int]:
        lost = {z for parts in self.layers.values() for z in parts.missing()}
        lost |= {z for z in self.images.slices if not _has_facts(self.images.path(z, "json"))}
        return [z for z in self.images.slices if z in lost]

    def _refuse_links(self) -> None:
        """Refuse folders that lead elsewhere, because slices would be written there."""
        for parts in self.layers.values():
            if parts.folder.is_symlink():
                raise OutputError(
                    "parts-link",
                    f"{parts.folder} is a link",
                    "Finished slices are kept in a real folder beside the output",
                    "Remove the link",
                )

    def save(self, index: int, layers: Mapping[str, Tensor], facts: Facts) -> None:
        for name, parts in self.layers.items():
            if name != "images":
                parts.save(index, layers[name])
        folder = self.images.folder
        with _loss_noticed(folder), atomic(self.images.path(index, "json")) as temporary:
            temporary.write_text(json.dumps(facts))
        # Written last, because it marks the slice as finished.
        self.images.save(index, layers["images"])

    def layer(self, name: str) -> Sequence[Tensor]:
        return self.layers.get(name, [])

    def facts(self) -> list[Facts]:
        """Return the facts about every slice.

        Raises
        ------
        OutputError
            If the facts no longer exist, for instance because another process finished the output
            (`parts-missing`), or are damaged (`parts-damaged`) or unreadable
            (`output-unwritable`).
        """
        paths = [self.images.path(index, "json") for index in self.images.slices]
        try:
            with _loss_noticed(self.images.folder):
                return [_read_facts(path) for path in paths]
        except OSError as error:
            raise output_error(self.images.folder, error) from error

    def keep_note(self, note: Facts) -> Facts:
        target = self._note
        temporary = target.with_name(temporary_name(target.name))
        try:
            with _loss_noticed(target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_text(json.dumps(note))
                put_first(temporary, target)
                kept = _read_facts(target)
        except OSError as error:
            raise output_error(target, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return kept

    def note(self) -> Facts | None:
        try:
            return _read_facts(self._note)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise output_error(self._note, error) from error

    @property
    def _note(self) -> Path:
        return self.images.folder / "note.json"

    def anything(self) -> bool:
        """Return whether a slice is finished or a decision is stored."""
        return len(self.missing()) < len(self.images) or self._note.exists()

    def clear(self) -> None:
        for parts in self.layers.values():
            parts.remove()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Run a `with` block that makes some slices; remove the parts once all are finished.

        After an error, the parts are kept, because other processes may have made them.
        """
        yield
        if not self.missing():
            self.clear()

    @contextmanager
    def kept_if_resumable(
        self, lasting: bool = True, on_kept: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Run a `with` block that makes the output, and remove the parts afterwards.

        They are kept if the run stops for a temporary reason: an interruption, a memory shortage,
        or a full disk.

        Parameters
        ----------
        lasting : bool
            Whether a later run can find the parts.
        on_kept : callable
            Called if the parts are kept.
        """
        try:
            yield
        except (KeyboardInterrupt, MemoryShortage, OutputError):
            if lasting and self.anything():
                on_kept()
            else:
                self.clear()
            raise
        except BaseException:
            self.clear()
            raise

        self.clear()


def _read_facts(path: Path) -> Facts:
    """Return the facts in a file; refuse a damaged one, because slices depend on its content."""
    try:
        facts = json.loads(path.read_text())
    except ValueError:
        facts = None
    if isinstance(facts, dict):
        return facts

    raise OutputError(
        "parts-damaged",
        f"{path} is damaged",
        "It belongs to the finished slices of an unfinished run",
        f"Remove the folder {path.parent} and run the same command again",
    )


def _has_facts(path: Path) -> bool:
    """Return whether a file exists and holds facts; one that cannot be read is left to the user."""
    try:
        _read_facts(path)
    except (FileNotFoundError, OutputError):
        return False
    except OSError:
        pass
    return True


@contextmanager
def _loss_noticed(folder: Path) -> Iterator[None]:
    """Raise `parts-missing` if files in the folder vanish within a `with` block."""
    try:
        yield
    except (FileNotFoundError, OutputError) as error:
        # `atomic` has turned the system's error into its own.
        if isinstance(error, OutputError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise OutputError(
            "parts-missing",
            f"The finished slices in {folder} no longer exist",
            "They are kept until the output is finished, unless another process removes them",
            "Run the same command again",
        ) from error
