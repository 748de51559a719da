"""What `reconstruct` does around a method so that its images can be trusted: adaptation to the scan, and warnings."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cmrrecon.cli.console import Talk
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    import torch

    from cmrrecon.data.scan import Scan
    from cmrrecon.methods.auto import Choice
    from cmrrecon.methods.network import NetworkMethod
    from cmrrecon.methods.registry import Method


def check_adaptable(method: "Method | NetworkMethod", settings: "Mapping[str, Any]") -> None:
    """Refuse --adapt where no network would be used.

    Raises
    ------
    UsageError : the method has none, or was given settings of classical methods
    """
    from cmrrecon.methods.auto import AUTO
    from cmrrecon.methods.network import NetworkMethod
    from cmrrecon.methods.registry import DEFAULT_METHOD
    from cmrrecon.methods.shipped import shipped_network

    if not isinstance(method, NetworkMethod) and (method.name != DEFAULT_METHOD or shipped_network() is None):
        raise UsageError(
            "options-conflict",
            f"--adapt was given with the method {method.name}",
            "Only networks can be adapted to a scan",
            "Leave out --method, or give --checkpoint",
        )
    if not isinstance(method, NetworkMethod) and (given := [key for key in ("weight", "iterations") if settings[key] != AUTO]):
        raise UsageError(
            "options-conflict",
            f"--adapt was given with --set {given[0]}={settings[given[0]]}",
            "These settings are of the classical methods, so auto then leaves the network out",
            f"Leave out --adapt or --set {given[0]}",
        )


def adapted(
    method: "Method | NetworkMethod", scan: "Scan", index: int, steps: int, device: "torch.device", name: str, talk: Talk
) -> "tuple[Method | NetworkMethod, dict[str, Any]]":
    """The method with its network adapted to slice `index` of a scan, and what came of it. Errors as of `reconstruct.adapt.adapt`."""
    from dataclasses import replace

    from cmrrecon.methods.network import NetworkMethod
    from cmrrecon.methods.shipped import shipped_network
    from cmrrecon.reconstruction.adapt import adapt

    series = scan.series(index).to(device)
    if series.complete:
        talk.warn(f"{name}: fully sampled, so there is nothing to adapt to")
        return method, {"slice": index, "steps": 0}
    given = method.network if isinstance(method, NetworkMethod) else shipped_network()
    assert given is not None
    with talk.progress(f"{name}, adapting", steps, "step") as bar:
        found = adapt(given, series, steps, lambda loss: bar.advance(f"loss {loss:.4f}"))
    record = {"slice": index, "steps": found.steps, "before": round(found.before, 6), "after": round(found.after, 6)}
    talk.say(
        f"{name}: adapted on slice {index}; the error in predicting the samples that say when to stop went from {found.before:.4g} "
        f"to {found.after:.4g}" + ("" if found.steps else ", so the weights stay as they were")
    )
    if isinstance(method, NetworkMethod):
        return NetworkMethod(method.name, found.network, method.summary, method.digest, method.metadata), record
    return replace(method, network=found.network), record  # type: ignore[arg-type]


def warn_outside(method: "Method | NetworkMethod", choice: "Choice | None", scan: "Scan", index: int, name: str, talk: Talk) -> list[str]:
    """Tell, and give, what of a scan lies outside of what the network that reconstructs it was trained on."""
    from cmrrecon.methods import shipped
    from cmrrecon.methods.network import NetworkMethod
    from cmrrecon.networks.checkpoints import weights
    from cmrrecon.reconstruction.trust import envelope_of, facts_of, outside

    if isinstance(method, NetworkMethod):
        metadata = method.metadata
    elif choice is not None and shipped.NAME in (choice.method, choice.partner and choice.partner.method):
        metadata = weights.installed()[shipped.FILE]
    else:
        return []
    envelope = envelope_of(metadata)
    found = outside(facts_of(scan.series(index)), envelope) if envelope else []
    if found:
        talk.warn(f"{name}: outside of what the network was trained on: {'; '.join(found)}. Compare with a classical method")
    return found
