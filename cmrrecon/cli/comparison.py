"""Several methods on one slice of one scan: their images, scores and figure."""

import json as json_text
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmrrecon.cli import environment
from cmrrecon.cli.console import Console
from cmrrecon.cli.settings import decision_text, sampling_text
from cmrrecon.tools.errors import CmrreconError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

    from cmrrecon.data import Scan, Series
    from cmrrecon.evaluation.references import Reference
    from cmrrecon.methods.base import Method

# Kinds of figures, and where each keeps the provenance.
FIGURES = {".png": "provenance", ".pdf": "Keywords", ".svg": "Description"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods on one slice of one scan.

    Attributes
    ----------
    name, path : what the scan is called, and its file
    scan, series, index : the scan, its slice, and the number of that
    methods : by unique label
    reference, truth : what is compared with, if anything, and its magnitudes (frame, y, x) of the slice
    frame : which one is pictured
    edges : whether edges are compared too
    device : of the methods that can use a GPU
    axes, dataset : names of stored axes, and of a data set, that were given
    """

    name: str
    path: Path
    scan: "Scan"
    series: "Series"
    index: int
    methods: "Mapping[str, Method]"
    reference: "Reference | None"
    truth: "Tensor | None"
    frame: int
    edges: bool
    device: "torch.device"
    axes: str | None
    dataset: str | None

    def sources(self) -> list[Path]:
        """The files that it is made from."""
        mask = [Path(self.scan.mask_path)] if self.scan.mask_path else []
        return [self.path, *mask, *([self.reference.path] if self.reference else [])]

    def record(self) -> dict[str, Any]:
        """What is known before it is made."""
        return {
            "input": self.name,
            "slice": self.index,
            "methods": list(self.methods),
            "reference": self.reference.source if self.reference else None,
        }

    def stamp(self) -> dict[str, Any]:
        """The provenance."""
        from cmrrecon.tools import provenance

        digests = {name: _digest(method) for name, method in self.methods.items()}
        weights = {name: digest for name, digest in digests.items() if digest}
        config: dict[str, Any] = {
            "methods": list(self.methods),
            "slice": self.index,
            "frame": self.frame,
            "axes": self.axes,
        }
        config |= {"dataset": self.dataset} if self.dataset else {}
        config |= ({"weights": weights} if weights else {}) | (
            {"edges": True} if self.edges else {}
        )
        return provenance.make(
            environment.command_line(),
            config=config,
            inputs=self.sources(),
            device=str(self.device),
            acquisition=asdict(self.scan.acquisition),
        )

    def draw(self, place: Path, stamp: dict[str, Any], console: Console) -> None:
        """Reconstruct, tell the scores, and write the figure."""
        from cmrrecon.evaluation.figures import comparison_figure

        images, titles = self._reconstructed(console)
        figure = comparison_figure(
            images,
            self.truth,
            frame=self.frame,
            titles=titles,
            heading=self._heading(),
            edges=self.edges,
        )
        _save(place, figure, stamp)

    def _heading(self) -> str:
        """How the scan was sampled."""
        facts = self.scan.acquisition
        return sampling_text(
            pattern=facts.pattern,
            acceleration=facts.acceleration,
            **self.series.mask.described(),
        )

    def _reconstructed(self, console: Console) -> "tuple[dict[str, Tensor], dict[str, str]]":
        """Magnitudes and picture titles by name; a method that refuses the series is told and left out, unless all do."""
        images: dict[str, Tensor] = {}
        titles: dict[str, str] = {}
        refusal: CmrreconError | None = None
        with console.progress(self.name, len(self.methods), "method") as bar:
            for name, method in self.methods.items():
                start = time.monotonic()
                try:
                    image = self._one(name, method, console)
                except CmrreconError as error:
                    refusal = error
                    console.error(error, name)
                    continue
                finally:
                    bar.advance()
                images[name] = image
                seconds = round(time.monotonic() - start, 2)
                known = {"input": self.name, "method": name, "slice": self.index}
                weights = {"weights": digest} if (digest := _digest(method)) else {}
                titles[name] = self._report(
                    {**known, "seconds": seconds, **weights}, image, console
                )
        if refusal is not None and not images:
            raise refusal
        return images, titles

    def _one(self, name: str, method: "Method", console: Console) -> "Tensor":
        """Magnitudes (frame, y, x) of one method with its default options."""
        from cmrrecon import reconstruct

        result = reconstruct(self.scan, method, slices=[self.index], device=self.device)
        if result.decision is not None:
            console.say(f"{name}: {decision_text(self.index, result.decision)}")
        for warning in result.warnings:
            console.warn(f"{name}: {warning}")
        return result.slices[0].abs()

    def _report(self, known: dict[str, Any], image: "Tensor", console: Console) -> str:
        """Score one method, give the record with what is known already, and return the title of its pictures."""
        from cmrrecon.evaluation.figures import edge_similarity
        from cmrrecon.evaluation.protocols import score

        record = {"status": "reconstructed" if self.truth is None else "scored", **known}
        title = f"{known['method']}, {known['seconds']:.1f} s"
        if self.truth is not None:
            scores = score(image[:, None], self.truth[:, None], protocol="fullfov")
            record |= scores.as_dict()
            title += f"\nPSNR {scores.psnr:.2f} dB, SSIM {scores.ssim:.3f} (fullfov)"
            if self.edges:
                record["edge_similarity"] = edge_similarity(image, self.truth)
                title += f"\nedge similarity {record['edge_similarity']:.3f} (1 − EAR loss)"
        console.say(title.replace("\n", ", "))
        console.result(record, None)
        return title


def columns(names: Sequence[str], checkpoints: Sequence[Path]) -> "dict[str, Method]":
    """The methods of these names and the networks of these weights, by unique label."""
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
    """That of the weights of a network that is the method."""
    from cmrrecon.methods.network import NetworkMethod

    return method.weights().digest if isinstance(method, NetworkMethod) else None


def _save(target: Path, figure: "Figure", stamp: dict[str, Any]) -> None:
    from cmrrecon.tools.atomic import atomic

    kind = target.suffix.lower()
    with atomic(target) as temporary:
        figure.savefig(
            temporary, format=kind[1:], dpi=150, metadata={FIGURES[kind]: json_text.dumps(stamp)}
        )
