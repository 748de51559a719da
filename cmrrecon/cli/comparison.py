"""Compare methods on one slice of a scan: reconstruct, score and draw the figure."""

import json as json_text
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cmrrecon.cli import environment
from cmrrecon.cli.comparison_images import FileImages
from cmrrecon.cli.comparison_settings import FIGURES
from cmrrecon.cli.console import Console
from cmrrecon.cli.running import convert_errors, failure_record
from cmrrecon.cli.settings import choice_text, decision_text, sampling_text
from cmrrecon.tools.errors import CmrreconError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

    from cmrrecon.data import Scan, Series
    from cmrrecon.evaluation.figures import Display
    from cmrrecon.evaluation.references import Reference
    from cmrrecon.methods.base import Method

# Keeps a number and its unit on the same line of a title.
NO_BREAK_SPACE = "\u00a0"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods and images that are compared on one slice of a scan.

    Attributes
    ----------
    name : str
        Name of the scan in messages.
    path : Path
        File of the scan.
    scan : Scan
        The scan.
    series : Series
        The slice to compare.
    index : int
        Number of the slice.
    methods : mapping of str to Method
        Methods by column label.
    images : mapping of str to FileImages
        Images from files by column label.
    reference : Reference or None
        The reference for error maps and scores.
    truth : Tensor of shape (frame, y, x), or None
        Magnitudes of the reference on this slice.
    protocol : str
        Scoring rule, `fullfov` or `body`.
    frame : int
        Number of the frame shown.
    edges : bool
        Whether to compare the edges too.
    display : Display
        Window, zoom, aspect and time axis.
    dpi : int
        Resolution of a PNG in dots per inch.
    device : torch.device
        Device for methods that can use a GPU.
    axes : str or None
        Names of the stored axes.
    dataset : str or None
        HDF5 group to read.
    """

    name: str
    path: Path
    scan: "Scan"
    series: "Series"
    index: int
    methods: "Mapping[str, Method]"
    images: Mapping[str, FileImages]
    reference: "Reference | None"
    truth: "Tensor | None"
    protocol: str
    frame: int
    edges: bool
    display: "Display"
    dpi: int
    device: "torch.device"
    axes: str | None
    dataset: str | None

    def sources(self) -> list[Path]:
        """Return the files from which the figure is made."""
        mask = [Path(self.scan.mask_path)] if self.scan.mask_path else []
        reference = [self.reference.path] if self.reference else []
        return [self.path, *mask, *reference, *(images.path for images in self.images.values())]

    def record(self) -> dict[str, Any]:
        """Return the part of the record that is known before the figure is made."""
        return {
            "input": self.name,
            "slice": self.index,
            "methods": list(self.methods),
            "images": list(self.images),
            "reference": self.reference.source if self.reference else None,
        }

    def stamp(self) -> dict[str, Any]:
        """Return the provenance of the figure."""
        from cmrrecon.tools import provenance

        digests = {name: _digest(method) for name, method in self.methods.items()}
        weights = {name: digest for name, digest in digests.items() if digest}
        config: dict[str, Any] = {
            "methods": list(self.methods),
            "images": {name: images.path.name for name, images in self.images.items()},
            "slice": self.index,
            "frame": self.frame,
            "axes": self.axes,
            "protocol": self.protocol,
            "dpi": self.dpi,
            "display": asdict(self.display),
        }
        config |= {"dataset": self.dataset} if self.dataset else {}
        config |= {"weights": weights} if weights else {}
        config |= {"edges": True} if self.edges else {}
        return provenance.make(
            environment.command_line(),
            config=config,
            inputs=self.sources(),
            device=str(self.device),
            acquisition=asdict(self.scan.acquisition),
        )

    def draw(self, file: Path, stamp: dict[str, Any], console: Console) -> "Drawn":
        """Reconstruct, report the scores, and write the figure.

        A column that fails is reported and left out.

        Parameters
        ----------
        file : Path
            The figure.
        stamp : dict
            Provenance of the figure with all columns.
        console : Console
            Where to report.

        Returns
        -------
        Drawn
            The columns of the figure, and the failures.

        Raises
        ------
        Exit
            If all columns fail; with the exit code of the last one.
        """
        from cmrrecon.evaluation.figures import comparison_figure

        images: dict[str, Tensor] = {}
        titles: dict[str, str] = {}
        failures: list[CmrreconError] = []
        names = [*self.methods, *self.images]
        with console.progress(self.name, len(names), "column") as bar:
            for name in names:
                try:
                    with convert_errors(console):
                        facts, image = self._column(name, console)
                        record, title = self._scored(facts, image)
                except CmrreconError as error:
                    failures.append(error)
                    console.error(error, name)
                    place = {"method": name, "slice": self.index}
                    console.result(failure_record(self.name, error) | place, None)
                else:
                    images[name] = image
                    titles[name] = title
                    self._report(record, title, console)
                bar.advance()

        if not images:
            raise typer.Exit(failures[-1].exit_code)
        drawn = replace(
            self,
            methods={name: method for name, method in self.methods.items() if name in images},
            images={name: found for name, found in self.images.items() if name in images},
        )

        note = f"Scores: protocol {self.protocol}." if self.truth is not None else ""
        note += " Edges: 1 − EAR loss." if self.edges else ""
        figure = comparison_figure(
            images,
            self.truth,
            frame=self.frame,
            titles=titles,
            heading=self._heading(),
            edges=self.edges,
            display=replace(self.display, note=note),
        )
        # With its own stamp, an incomplete figure does not count as the finished one.
        _save(file, figure, drawn.stamp() if failures else stamp, self.dpi)
        return Drawn(drawn, failures)

    def _heading(self) -> str:
        """Describe how the scan was sampled."""
        facts = self.scan.acquisition
        return sampling_text(
            pattern=facts.pattern,
            acceleration=facts.acceleration,
            **self.series.mask.described(),
        )

    def _column(self, name: str, console: Console) -> "tuple[dict[str, Any], Tensor]":
        """Return the facts of one column and its magnitudes (frame, y, x)."""
        facts = {"input": self.name, "method": name, "slice": self.index}
        if name in self.images:
            images = self.images[name]
            return {**facts, "file": str(images.path)}, images.magnitude

        method = self.methods[name]
        start = time.monotonic()
        image = self._reconstruct(name, method, console)
        seconds = round(time.monotonic() - start, 2)
        weights = {"weights": digest} if (digest := _digest(method)) else {}
        return {**facts, "seconds": seconds, **weights}, image

    def _reconstruct(self, name: str, method: "Method", console: Console) -> "Tensor":
        """Reconstruct with default options and return the magnitudes (frame, y, x)."""
        from cmrrecon import reconstruct

        result = reconstruct(self.scan, method, slices=[self.index], device=self.device)
        if result.decision is not None:
            short = choice_text(result.decision)
            full = decision_text(self.index, result.decision)
            console.say(f"{name}: {full if console.verbose else short}")
        for warning in result.warnings:
            console.warn(f"{name}: {warning}")
        return result.slices[0].abs()

    def _scored(self, facts: dict[str, Any], image: "Tensor") -> tuple[dict[str, Any], str]:
        """Score one column and return its record and its title."""
        from cmrrecon.evaluation.figures import edge_similarity
        from cmrrecon.evaluation.protocols import score

        origin = "read" if "file" in facts else "reconstructed"
        record = {"status": origin if self.truth is None else "scored", **facts}
        title = str(facts["method"])
        if "seconds" in facts:
            title += f", {facts['seconds']:.1f}{NO_BREAK_SPACE}s"

        if self.truth is not None:
            scores = score(image[:, None], self.truth[:, None], protocol=self.protocol)
            record |= scores.as_dict()
            title += f"\nPSNR {scores.psnr:.2f}{NO_BREAK_SPACE}dB\nSSIM {scores.ssim:.3f}"
            if self.edges:
                record["edge_similarity"] = edge_similarity(image, self.truth)
                title += f"\nedges {record['edge_similarity']:.3f}"
        return record, title

    def _report(self, record: dict[str, Any], title: str, console: Console) -> None:
        """Print the scores of one column."""
        rule = "" if self.truth is None else f" (protocol {self.protocol})"
        console.say(title.replace("\n", ", ").replace(NO_BREAK_SPACE, " ") + rule)
        console.result(record, None)


@dataclass(frozen=True)
class Drawn:
    """The result of drawing a figure.

    Attributes
    ----------
    comparison : Comparison
        The comparison with only the columns of the figure.
    failures : list of CmrreconError
        Errors of the other columns.
    """

    comparison: Comparison
    failures: list[CmrreconError]


def columns(names: Sequence[str], checkpoints: Sequence[Path]) -> "dict[str, Method]":
    """Return the named methods and the networks of the checkpoints by unique labels."""
    from cmrrecon.evaluation.runs import distinguish_runs
    from cmrrecon.methods.registry import find_method, from_checkpoint

    methods: list[Method] = [*map(find_method, names), *map(from_checkpoint, checkpoints)]
    runs = [None] * len(names) + [path.absolute().parent.name for path in checkpoints]
    records = [
        {"method": method.name, "weights": _digest(method), "run": run}
        for method, run in zip(methods, runs, strict=True)
    ]
    return {
        record["method"]: m for record, m in zip(distinguish_runs(records), methods, strict=True)
    }


def _digest(method: "Method") -> str | None:
    """Return the digest of a network's weights; None for other methods."""
    from cmrrecon.methods.network import NetworkMethod

    return method.weights().digest if isinstance(method, NetworkMethod) else None


def _save(target: Path, figure: "Figure", stamp: dict[str, Any], dpi: int) -> None:
    """Write a figure together with its provenance."""
    import matplotlib

    from cmrrecon.tools.atomic import atomic

    kind = target.suffix.lower()
    metadata = {FIGURES[kind]: json_text.dumps(stamp)}
    # Journals ask for editable text: TrueType fonts in PDF, text elements in SVG.
    editable = matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"})
    with atomic(target) as temporary, editable:
        figure.savefig(temporary, format=kind[1:], dpi=dpi, metadata=metadata)
