"""Cardiac MRI reconstruction: undersampled multi-coil k-space in, images and scores out.

For research use only. Example::

    import cmrrecon

    full = cmrrecon.simulate(slices=1).scan
    scan = cmrrecon.undersample(full, "kt-gaussian", 8)
    result = cmrrecon.reconstruct(scan)
    result.save("cine.h5")

The names below are the public interface. They are imported on first use.
"""

from importlib import import_module

__version__ = "0.2.0"

# The module of each public name.
_PUBLIC = {
    "read": "cmrrecon.formats.reading",
    "write": "cmrrecon.formats.writing",
    "simulate": "cmrrecon.simulation.scans",
    "undersample": "cmrrecon.sampling.apply",
    "reconstruct": "cmrrecon.reconstruction.scan",
    "evaluate": "cmrrecon.evaluation.scoring",
    "fit": "cmrrecon.evaluation.fitting",
    "Acquisition": "cmrrecon.data.acquisition",
    "CmrreconError": "cmrrecon.tools.errors",
    "Decision": "cmrrecon.methods.decision",
    "Geometry": "cmrrecon.data.geometry",
    "LineMask": "cmrrecon.data.mask",
    "Noise": "cmrrecon.data.noise",
    "ParametricMap": "cmrrecon.evaluation.parametric_map",
    "Result": "cmrrecon.reconstruction.result",
    "SampleMask": "cmrrecon.data.mask",
    "SamplingMask": "cmrrecon.data.mask",
    "Scan": "cmrrecon.data.scan",
    "Scores": "cmrrecon.evaluation.scores",
    "Segment": "cmrrecon.evaluation.segments",
    "Series": "cmrrecon.data.series",
    "Simulated": "cmrrecon.simulation.scans",
    "SpokeMask": "cmrrecon.data.mask",
    "Trajectory": "cmrrecon.data.trajectory",
}

__all__ = [
    "Acquisition",
    "CmrreconError",
    "Decision",
    "Geometry",
    "LineMask",
    "Noise",
    "ParametricMap",
    "Result",
    "SampleMask",
    "SamplingMask",
    "Scan",
    "Scores",
    "Segment",
    "Series",
    "Simulated",
    "SpokeMask",
    "Trajectory",
    "__version__",
    "evaluate",
    "fit",
    "read",
    "reconstruct",
    "simulate",
    "undersample",
    "write",
]

# Type checkers treat a constant with this name as true, so they see the imports below.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from cmrrecon.data.acquisition import Acquisition
    from cmrrecon.data.geometry import Geometry
    from cmrrecon.data.mask import LineMask, SampleMask, SamplingMask, SpokeMask
    from cmrrecon.data.noise import Noise
    from cmrrecon.data.scan import Scan
    from cmrrecon.data.series import Series
    from cmrrecon.data.trajectory import Trajectory
    from cmrrecon.evaluation.fitting import fit
    from cmrrecon.evaluation.parametric_map import ParametricMap
    from cmrrecon.evaluation.scores import Scores
    from cmrrecon.evaluation.scoring import evaluate
    from cmrrecon.evaluation.segments import Segment
    from cmrrecon.formats.reading import read
    from cmrrecon.formats.writing import write
    from cmrrecon.methods.decision import Decision
    from cmrrecon.reconstruction.result import Result
    from cmrrecon.reconstruction.scan import reconstruct
    from cmrrecon.sampling.apply import undersample
    from cmrrecon.simulation.scans import Simulated, simulate
    from cmrrecon.tools.errors import CmrreconError


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
