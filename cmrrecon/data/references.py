"""Which k-space can serve as a reference or a training target."""

from cmrrecon.data.mask import CartesianMask, SamplingMask
from cmrrecon.tools.errors import InputError


def as_reference(
    mask: SamplingMask, where: str, *, by_rule: bool = False, allow_partial: bool = False
) -> str | None:
    """Refuse k-space that cannot serve as a reference.

    Aliased k-space is always refused. K-space without its edges is refused unless it is allowed.

    Parameters
    ----------
    mask : SamplingMask
        Measured samples.
    where : str
        Name of the file, for messages.
    by_rule : bool
        Whether the challenge that published the file calls it fully sampled, see `Scan`.
    allow_partial : bool
        Whether to accept partial Fourier, low resolution and asymmetric echoes.

    Returns
    -------
    str or None
        A note for the user if edges are missing; None for complete k-space.

    Raises
    ------
    InputError
        If the k-space is aliased (`kspace-undersampled`), or lacks its edges although that is not
        allowed (`kspace-partial`).
    """
    if not isinstance(mask, CartesianMask) or mask.coverage.gaps:
        effective = f"effective R {mask.effective_acceleration():.3g}"
        raise undersampled(f"{where} is undersampled, {effective}")

    label = mask.coverage.label
    if mask.complete:
        return None

    if by_rule:
        return f"{where} is {label}; it is a reference by the rule of its challenge"

    if not allow_partial:
        raise InputError(
            "kspace-partial",
            f"{where} is {label}: the edges of k-space were not measured",
            "A reference must be fully sampled",
            "Give a fully sampled file or truth images, or accept it with --allow-partial",
        )
    return f"{where} is {label}; it is used as a reference on request"


def undersampled(found: str) -> InputError:
    """Make the error for aliased k-space where fully sampled k-space is needed."""
    return InputError(
        "kspace-undersampled",
        found,
        "Fully sampled k-space is needed here",
        "Give the fully sampled file or truth images, or reconstruct this one as it is",
    )
