"""The default method, which chooses solver, weight and iterations for each scan."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cmrrecon.classical.prepared import PreparedSeries
from cmrrecon.data import CartesianMask
from cmrrecon.methods.base import Adaptable, Method, Outcome, Weights, finite
from cmrrecon.methods.decision import Decision
from cmrrecon.methods.edges import is_one_sided
from cmrrecon.methods.iterative import IterativeMethod, solved
from cmrrecon.methods.network import prepare
from cmrrecon.methods.solver import IterativeOptions, Solver
from cmrrecon.methods.trials import decide
from cmrrecon.networks.problem_network import ProblemNetwork
from cmrrecon.tools.devices import fast_precision


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network for whole series that `Auto` tries along with the classical methods.

    Attributes
    ----------
    name : str
        Its name among the methods tried.
    network : ProblemNetwork
        The network, on any device.
    weights : Weights
        Its trained weights.
    """

    name: str
    network: ProblemNetwork
    weights: Weights


@dataclass(frozen=True, eq=False)
class Auto(Method):
    """The best of some iterative methods and a network for a scan, or a blend of two.

    Attributes
    ----------
    name : str
        See `Method`.
    summary : str
        See `Method`.
    candidates : tuple of IterativeMethod
        The classical methods to choose from. The first one is used if no trials are possible.
    single_frame : tuple of IterativeMethod
        The classical methods for a single frame, which has no time axis.
    trained : TrainedNetwork or None
        The network; None if no weights are installed.
    """

    name: str
    summary: str
    candidates: tuple[IterativeMethod, ...]
    single_frame: tuple[IterativeMethod, ...]
    trained: TrainedNetwork | None = None
    Options = IterativeOptions
    decides = True
    whitens = True
    cyclic = True

    def decide(self, prepared: PreparedSeries, options: IterativeOptions) -> Decision:
        """Choose method, weight, iterations and coil maps by trials on hold-out samples."""
        prepared = prepared.white
        cartesian = isinstance(prepared.mask, CartesianMask)
        solvers = self._solvers(prepared, options)
        name = self.trained.name if self.trained and self.trained.name in solvers else None
        return decide(prepared, solvers, options, refine=cartesian, network=name)

    def _images(
        self, prepared: PreparedSeries, options: IterativeOptions, decision: Decision | None
    ) -> Outcome:
        """Reconstruct as decided; if the network fails, use the best classical method."""
        chosen = decision or self.decide(prepared, options)
        solvers = self._solvers(prepared, options)
        outcome = solved(prepared, solvers, chosen, options)
        if not finite(outcome.images) and (fallback := self._without_network(chosen)) is not None:
            return solved(prepared, solvers, fallback, options)
        return outcome

    def _without_network(self, decision: Decision) -> Decision | None:
        """Return the decision for the best classical trial, if the network was tried too."""
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
        """Return the candidates for a series, including the network where it can be used.

        The network cannot be used if one side of k-space is missing. It has not learned to fill
        that side, which the other candidates do by symmetry.
        """
        methods = self.candidates if prepared.series.frames > 1 else self.single_frame
        solvers = {method.name: method.solver for method in methods}
        usable = isinstance(prepared.mask, CartesianMask) and not is_one_sided(prepared.mask)
        if self.trained is not None and usable and _automatic(options):
            device = prepared.kspace.device
            network = prepare(self.trained.network, fast_precision(device), device)
            starts = network.starts_from if prepared.series.frames > 1 else ()
            solvers[self.trained.name] = Solver.of(
                self.trained.name, network.solve, starts_from=starts
            )
        return solvers

    def weights(self) -> Weights | None:
        """Return the trained weights of the network."""
        return None if self.trained is None else self.trained.weights

    def training_facts(self, decision: Decision | None) -> Mapping[str, str]:
        """Return the metadata of the network's weights, if the decision uses the network."""
        if self.trained is None or decision is None or not decision.uses(self.trained.name):
            return {}
        return self.trained.weights.metadata

    def adaptable(self, options: IterativeOptions) -> Adaptable | None:
        """Return the network, unless settings of the classical methods exclude it."""
        trained = self.trained
        if trained is None or not _automatic(options):
            return None

        def adopt(network: ProblemNetwork) -> Auto:
            return replace(self, trained=replace(trained, network=network))

        return Adaptable(trained.network, adopt)


def _automatic(options: IterativeOptions) -> bool:
    """Return whether weight and iterations are automatic; given ones are for classical methods."""
    return options.weight is None and options.iterations is None
