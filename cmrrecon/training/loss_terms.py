"""The losses of a recipe: the terms that are minimised, with their weights and parameters."""

from dataclasses import dataclass
from typing import Literal

from cmrrecon.losses.distribution_alignment import Covariance
from cmrrecon.losses.eagle import Variant as EagleVariant
from cmrrecon.losses.edge_aware import Reduce
from cmrrecon.losses.high_frequency import Norm as HighFrequencyNorm
from cmrrecon.losses.perceptual import Variant as PerceptualVariant

KspaceForm = Literal["complex", "physical", "literal", "coilwise", "nmae", "nmse"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """A loss and its weight; a loss of weight zero is not computed."""

    weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class KspaceTerm(Term):
    """`losses.fidelity`.

    The forms are the complex difference, magnitude and phase (safe or as published), magnitudes
    coil by coil, and normalised absolute and squared errors.
    """

    form: KspaceForm = "complex"


@dataclass(frozen=True, kw_only=True)
class SsimTerm(Term):
    """`losses.ssim.ssim_loss`; the data range is the maximum of the scan or of the batch."""

    range: Literal["scan", "batch"] = "scan"


@dataclass(frozen=True, kw_only=True)
class AbsoluteTerm(Term):
    """`losses.ssim.l1_loss`, in units of the target's mean or of the network's own scale."""

    unit: Literal["target", "network"] = "target"


@dataclass(frozen=True, kw_only=True)
class HighFrequencyTerm(Term):
    """`losses.high_frequency`."""

    norm: HighFrequencyNorm = "l1"


@dataclass(frozen=True, kw_only=True)
class EdgeTerm(Term):
    """`losses.edge_aware`."""

    threshold: float = 0.1
    inclusive: bool = True
    reduce: Reduce = "region"


@dataclass(frozen=True, kw_only=True)
class SimilarityTerm(Term):
    """`losses.gaussian_ssim.similarity_loss`."""

    absolute: float = 0.0
    normalised: bool = False


@dataclass(frozen=True, kw_only=True)
class AlignmentTerm(Term):
    """`losses.distribution_alignment`."""

    window: int = 4
    covariance: Covariance = "diagonal"


@dataclass(frozen=True, kw_only=True)
class EagleTerm(Term):
    """`losses.eagle`."""

    patch: int = 5
    cutoff: float = 0.35
    variant: EagleVariant = "high-pass"


@dataclass(frozen=True, kw_only=True)
class PerceptualTerm(Term):
    """`losses.perceptual`; without a file of VGG19 weights it is left out, with a note."""

    file: str = ""
    variant: PerceptualVariant = "standard"


@dataclass(frozen=True, kw_only=True)
class RegularisationTerm(Term):
    """`losses.fidelity.regularisation`."""

    share: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Losses:
    """The loss to be minimised.

    Attributes
    ----------
    weighting : str
        "sum" of all terms; or "variation", three groups weighted by their coefficients of
        variation: fidelity (all terms that are not named here), ear, and sda.
    stages : str
        The images that enter the terms: the "last" image, or the "mean" or "sum" over the images of
        all cascades. "rising" is a sum with weights that rise from 0.1 to 1 in equal ratios, and
        the last k-space alone.
    kspace, ssim, gaussian_ssim, l1, psnr, ear, sda, eagle, perceptual, adversarial : Term
        The terms.
    hfen, volume_ssim : Term
        Further terms for images; `volume_ssim` is for networks for whole series.
    regularisation : Term
        The term of the same name in `losses.fidelity`.
    classification, lesion : Term
        `losses.lesion` with labels and with boxes, for the last image only; they belong to no
        group.
    """

    weighting: Literal["sum", "variation"] = "sum"
    stages: Literal["last", "mean", "sum", "rising"] = "last"
    kspace: KspaceTerm = KspaceTerm()
    ssim: SsimTerm = SsimTerm()
    gaussian_ssim: SimilarityTerm = SimilarityTerm()
    l1: AbsoluteTerm = AbsoluteTerm()
    psnr: Term = Term()
    ear: EdgeTerm = EdgeTerm()
    sda: AlignmentTerm = AlignmentTerm()
    eagle: EagleTerm = EagleTerm()
    perceptual: PerceptualTerm = PerceptualTerm()
    adversarial: Term = Term()
    regularisation: RegularisationTerm = RegularisationTerm()
    hfen: HighFrequencyTerm = HighFrequencyTerm()
    volume_ssim: Term = Term()
    classification: Term = Term()
    lesion: Term = Term()
