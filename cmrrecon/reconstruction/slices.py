"""One run over the slices of a scan: prepare, decide, reconstruct, measure residuals."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cmrrecon.classical.faults import faults_of_scan
from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask, MaskSource, SamplingMask, Series
from cmrrecon.data.heartbeat import from_strongest
from cmrrecon.methods.base import Method
from cmrrecon.methods.decision import Decision
from cmrrecon.operators.centre import restored
from cmrrecon.operators.field_of_view import shown
from cmrrecon.reconstruction.adapt import adapt
from cmrrecon.reconstruction.listener import Listener
from cmrrecon.reconstruction.misfit import cautions, misfit
from cmrrecon.reconstruction.result import Result
from cmrrecon.reconstruction.store import InMemory, Store
from cmrrecon.reconstruction.task import Task
from cmrrecon.reconstruction.trust import envelope_of, facts_of, outside, uncertainty
from cmrrecon.tools import provenance
from cmrrecon.tools.prefetch import ahead, behind


def run(
    task: Task,
    store: Store | None = None,
    listener: Listener | None = None,
    stamp: dict[str, Any] | None = None,
) -> Result:
    """Reconstruct the slices of a task that are not in the store yet, and combine all slices.

    Parameters
    ----------
    task : Task
        The scan to reconstruct, with all arguments.
    store : Store or None
        Where finished slices are kept; None to keep them in memory.
    listener : Listener or None
        Receives progress events.
    stamp : dict or None
        The result of `task.provenance()`, if it has been computed already.

    Returns
    -------
    Result
        All slices; errors are those of `reconstruct`.
    """
    kept = InMemory(task.slices) if store is None else store
    job = Run(task, kept, listener or Listener())
    # Digests of the inputs come first: a file that changes later is noticed at the next slice.
    stamp = stamp or task.provenance()
    job.solve(task.slices)
    return job.result(stamp)


def run_part(
    task: Task,
    slices: Sequence[int],
    store: Store,
    listener: Listener,
    stamp: dict[str, Any],
) -> Result | None:
    """Reconstruct some slices of a task, with a store that several processes share.

    All processes use the decision of the process that stored one first, so it is the same for all
    slices.

    Parameters
    ----------
    task : Task
        The whole task.
    slices : Sequence of int
        The slices that this process reconstructs.
    store : Store
        The store that all processes share.
    listener : Listener
        Receives progress events.
    stamp : dict
        The result of `task.provenance()`.

    Returns
    -------
    Result or None
        The result of the whole task if all slices are now in the store; None if some are missing.

    Raises
    ------
    CmrreconError
        The errors of `reconstruct`; also if the store cannot be written (`output-unwritable`).
    """
    job = Run(task, store, listener)
    job.solve(slices)
    return None if store.missing() else job.result(stamp)


class Run:
    """One run of a task.

    The middle slice comes first, and the settings for all slices are decided on it.

    Parameters
    ----------
    task : Task
        The scan to reconstruct, with all arguments.
    store : Store
        Where finished slices are kept.
    listener : Listener
        Receives progress events.
    """

    def __init__(self, task: Task, store: Store, listener: Listener) -> None:
        self.task, self.store, self.listener = task, store, listener
        self.method: Method = task.method
        self.middle = task.slices[len(task.slices) // 2]

        # The mask of the first slice, once it has been read.
        self.first_mask: SamplingMask | None = None
        self.warnings: list[str] = []
        self.found: dict[str, Any] = {}
        self.decision: Decision | None = None

    def solve(self, slices: Sequence[int]) -> None:
        """Reconstruct the given slices, except those that are already in the store."""
        task, store = self.task, self.store
        if task.adapt:
            # Adapted weights are not kept, and adapting again may not give identical weights.
            store.clear()

        missing = [index for index in store.missing() if index in slices]
        self.listener.started(len(slices), len(slices) - len(missing))
        if task.adapt:
            self._adapt()

        self.decision = self._decision()
        self._check_range(self.decision)
        if self.middle not in missing:
            # Release the middle slice, which a resumed run does not reconstruct again.
            self.__dict__.pop("prepared", None)

        self._solve(missing, self.decision)

    def result(self, stamp: dict[str, Any]) -> Result:
        """Combine all slices, after `solve` has completed the store."""
        task, store = self.task, self.store
        facts = store.facts()
        residuals = [one["data_residual"] for one in facts]
        self.found["data_residual"] = residuals
        self._note_whitening([one.get("whitened") for one in facts])
        for caution in cautions(task.slices, facts, self.middle, self.decision):
            self._warn(caution)
        self.found["warnings"] = self._warnings_without_path()

        return Result(
            store.layer("images"),
            task.slices,
            maps=store.layer("maps"),
            uncertainty=store.layer("uncertainty"),
            decision=self.decision,
            residuals=tuple(residuals),
            warnings=tuple(self.warnings),
            provenance={**stamp, **self.sampling(), **self.found},
            sources=tuple(task.inputs),
            geometry=task.geometry,
        )

    @cached_property
    def prepared(self) -> PreparedSeries:
        """The middle slice, read and prepared once."""
        return self._read(self.middle)

    def _read(self, index: int) -> PreparedSeries:
        series = self.task.scan.series(index)
        if index == self.task.slices[0]:
            self.first_mask = series.mask
        if index == self.middle:
            self._warn_of_faults(series)
        with self.method.guarded(series):
            ordered = from_strongest(series) if self.method.cyclic else series
            return PreparedSeries(ordered.to(self.task.device), whiten=self.task.whiten)

    def _view(self, prepared: PreparedSeries) -> PreparedSeries:
        """Return the whitened series if whitening was requested, otherwise the series itself."""
        return prepared.white if self.task.whiten else prepared

    def _working(self, prepared: PreparedSeries) -> PreparedSeries:
        """Return the series that the method works on."""
        return prepared.white if self.method.whitens else self._view(prepared)

    def sampling(self) -> dict[str, Any]:
        """Describe how the scan was sampled."""
        scan = self.task.scan
        known = scan.acquisition
        # A resumed run may not have read the first slice; it then uses the mask of the file.
        mask = self.first_mask or scan.mask
        if mask is None or (self.first_mask is None and mask.source is MaskSource.NON_ZERO):
            mask = scan.series(self.task.slices[0]).mask

        return {
            "pattern": known.pattern,
            "acceleration": known.acceleration,
            "cyclic_time": known.cyclic,
            **mask.described(),
        }

    def _warn(self, text: str) -> None:
        """Warn the user, but only once with the same text."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.listener.warned(text)

    def _warnings_without_path(self) -> list[str]:
        """Return the warnings without the path of the scan, which may name a patient."""
        path = str(self.task.scan.path or "")
        return [text.replace(path, "the scan") if path else text for text in self.warnings]

    def _warn_of_faults(self, series: Series) -> None:
        """Warn of faults in the middle slice."""
        for fault in faults_of_scan(self.task.scan, series, self.middle):
            self._warn(fault.words)

    def _adapt(self) -> None:
        """Adapt the network to the middle slice."""
        record: dict[str, Any] = {"slice": self.middle, "steps": 0}
        if self.prepared.mask.complete:
            self._warn("the scan is fully sampled, so there is nothing to adapt to")
            self.found["adapted"] = record
            return

        steps = self.task.adapt
        adaptable = self.method.adaptable(self.task.options)
        # `Task` refuses to adapt methods without a network.
        assert adaptable is not None

        adapted = adapt(
            adaptable.network,
            self._working(self.prepared),
            steps,
            lambda step, loss: self.listener.adapting(step, steps, loss),
        )
        self.method = adaptable.adopt(adapted.network)

        errors = {"before": round(adapted.before, 6), "after": round(adapted.after, 6)}
        self.found["adapted"] = {**record, "steps": adapted.steps, **errors}
        self.listener.adapted(self.found["adapted"])

    def _decision(self) -> Decision | None:
        """Load the settings for all slices from an earlier run, or decide them now."""
        if not self.method.decides:
            return None

        note = self.store.note()
        if note is not None:
            decision: Decision | None = Decision.from_dict(note)
        else:
            with self.method.guarded(self.prepared.series):
                decision = self.method.decide(self._view(self.prepared), self.task.options)

        if decision is None:
            return None
        if note is None:
            # Another process may have decided in the meantime, for all slices.
            decision = Decision.from_dict(self.store.keep_note(decision.as_dict()))

        self.found["choice"] = provenance.plain({"slice": self.middle, **decision.as_dict()})
        self.listener.decided(self.middle, decision)
        return decision

    def _check_range(self, decision: Decision | None) -> None:
        """Warn of properties outside the training range of the network that makes the images."""
        envelope = envelope_of(self.method.training_facts(decision))
        found = outside(facts_of(self._working(self.prepared)), envelope) if envelope else []
        if found:
            self.found["outside"] = found
            self._warn(
                f"outside the training range of the network: {'; '.join(found)}. "
                "Compare with a classical method"
            )

    def _solve(self, missing: list[int], decision: Decision | None) -> None:
        """Reconstruct the missing slices, starting with the middle one, already prepared."""
        self.listener.solving()
        order = sorted(missing, key=lambda index: index != self.middle)
        if self.task.device.type == "cuda":
            self._solve_on_gpu(order, decision)
            return
        for index in order:
            self._keep(index, *self._work(self._next(index), decision))

    def _solve_on_gpu(self, order: list[int], decision: Decision | None) -> None:
        """Read and write in threads while a GPU works; on a CPU, they would compete for cores."""
        device = self.task.device
        # On a separate stream, the copy does not wait for the work on another slice.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

        def load(index: int) -> PreparedSeries:
            with torch.cuda.stream(stream):
                prepared = self._next(index)
                for tensor in prepared.tensors():
                    tensor.record_stream(torch.cuda.default_stream(device))
                stream.synchronize()
            return prepared

        with behind(self._keep) as keep:
            for index, prepared in zip(order, ahead(load, order), strict=True):
                keep(index, *self._work(prepared, decision))

    def _note_whitening(self, words: list[str | None]) -> None:
        """Note how the coils of the slices were whitened, if they were."""
        known = next((one for one in words if one), None)
        if known is not None:
            self.found["whitened"] = known
            self.listener.noted(f"coils were mixed to make their noise white ({known})")

    def _work(
        self, prepared: PreparedSeries, decision: Decision | None
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Compute the layers of a slice, and collect what is known about it."""
        options = self.task.options
        for warning in (*prepared.series.warnings, *self.method.cautions(prepared, options)):
            self._warn(warning)

        outcome = self.method.reconstruct(self._view(prepared), options, decision)
        if outcome.edges and isinstance(prepared.mask, CartesianMask):
            self._warn(f"{', '.join(prepared.mask.coverage.edges)}: {outcome.edges}")

        facts: dict[str, Any] = dict(misfit(outcome.fit))
        if (self.method.whitens or self.task.whiten) and prepared.whitening is not None:
            facts["whitened"] = prepared.whitening.words

        layers = {"images": self._shown(restored(outcome.images, prepared.series))}
        if outcome.maps is not None and self.store.keeps_maps:
            layers["maps"] = self._shown(outcome.maps)

        # Free the memory of the problem before the replicates are reconstructed.
        del outcome
        if self.task.uncertainty:

            def images_of(part: Series) -> Tensor:
                replicate = PreparedSeries(part, whiten=prepared.whitening or False)
                repeated = self.method.reconstruct(self._view(replicate), options, decision)
                return self._shown(repeated.images)

            spread = uncertainty(prepared.series, images_of, self.task.uncertainty)
            layers["uncertainty"] = restored(spread, prepared.series)

        return layers, facts

    def _shown(self, images: Tensor) -> Tensor:
        """Cut encoded images or maps to the view, after decisions and residuals used all pixels."""
        return shown(images, self.task.view, self.task.scan.geometry)

    def _keep(self, index: int, layers: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.store.save(index, layers, facts)
        self.listener.finished(index)

    def _next(self, index: int) -> PreparedSeries:
        """Return the prepared slice `index`; the middle one is released here, not read again."""
        if index == self.middle and "prepared" in vars(self):
            return vars(self).pop("prepared")  # type: ignore[no-any-return]
        return self._read(index)
