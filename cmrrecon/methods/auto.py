"""No knobs: the method, its weight and its iterations are chosen per scan."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask
from cmrrecon.methods.base import Adaptable, Method, Outcome, Weights, finite
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.edges import is_one_sided
from cmrrecon.methods.iterative import IterativeMethod, solved
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.methods.trials import decide
from cmrrecon.networks.base import SeriesNetwork


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network for whole series that `Auto` tries beside the classical methods.

    Attributes
    ----------
    name : under which it is tried
    network : on any device
    weights : which these are
    """

    name: str
    network: SeriesNetwork
    weights: Weights


@dataclass(frozen=True, eq=False)
class Auto(Method):
    """The best of some iterative methods and a network for a scan, or a blend of two.

    Attributes
    ----------
    name, summary : see `Method`
    candidates : the classical methods it chooses from; the first is taken where nothing can be tried
    single_frame : those for a single frame, which has no time
    trained : the network; None if no weights are installed
    """

    name: str
    summary: str
    candidates: tuple[IterativeMethod, ...]
    single_frame: tuple[IterativeMethod, ...]
    trained: TrainedNetwork | None = None
    Options = IterativeOptions
    decides = True
    whitens = True

    def decide(self, prepared: PreparedSeries, options: IterativeOptions) -> Decision:
        """Method, weight, iterations and coil maps, by hidden samples."""
        prepared = prepared.white
        cartesian = isinstance(prepared.mask, CartesianMask)
        name = None if self.trained is None else self.trained.name
        solvers = self._solvers(prepared, options)
        return decide(prepared, solvers, options, refine=cartesian, network=name)

    def _images(
        self, prepared: PreparedSeries, options: IterativeOptions, decision: Decision | None
    ) -> Outcome:
        """If the network breaks on this series, images of the best classical method instead."""
        chosen = decision or self.decide(prepared, options)
        solvers = self._solvers(prepared, options)
        outcome = solved(prepared, solvers, chosen, options)
        if not finite(outcome.images) and (safe := self._without_network(chosen)) is not None:
            return solved(prepared, solvers, safe, options)
        return outcome

    def _without_network(self, decision: Decision) -> Decision | None:
        """The best classical method of the trials alone, if a network was tried too."""
        name = "" if self.trained is None else self.trained.name
        best = decision.best(lambda method: method != name)
        if best is None or decision.best(lambda method: method == name) is None:
            return None

        return replace(
            decision,
            method=best.method,
            weight=best.weight,
            iterations=best.iterations,
            partner=None,
        )

    def _solvers(self, prepared: PreparedSeries, options: IterativeOptions) -> dict[str, Solver]:
        """The candidates for a series; the network among them where it can be used.

        It has not learned to fill a missing side of k-space, which the others do by symmetry.
        """
        methods = self.candidates if prepared.series.frames > 1 else self.single_frame
        solvers = {method.name: method.solver for method in methods}
        usable = isinstance(prepared.mask, CartesianMask) and not is_one_sided(prepared.mask)
        if self.trained is not None and usable and _automatic(options):
            network = self.trained.network.to(prepared.kspace.device)
            solvers[self.trained.name] = Solver.of(self.trained.name, network.solve, one_set=True)
        return solvers

    def weights(self) -> Weights | None:
        """The weights of the network."""
        return None if self.trained is None else self.trained.weights

    def training_facts(self, decision: Decision | None) -> Mapping[str, str]:
        """Metadata of the network's weights, if the decision uses it."""
        if self.trained is None or decision is None or not decision.uses(self.trained.name):
            return {}
        return self.trained.weights.metadata

    def adaptable(self, options: IterativeOptions) -> Adaptable | None:
        """The network, unless settings of the classical methods leave it out."""
        trained = self.trained
        if trained is None or not _automatic(options):
            return None

        def adopt(network: SeriesNetwork) -> Auto:
            return replace(self, trained=replace(trained, network=network))

        return Adaptable(trained.network, adopt)


def _automatic(options: IterativeOptions) -> bool:
    """Whether weight and iterations are chosen: given ones are meant for the classical methods."""
    return options.weight is None and options.iterations is None
