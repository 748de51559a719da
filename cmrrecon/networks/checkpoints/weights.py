"""Save and load networks: our own files (safetensors) and checkpoints of other programs.

No file is trusted. Nothing in it is executed, and all its content is checked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor, nn

from cmrrecon import __version__
from cmrrecon.networks.catalog import name_of
from cmrrecon.networks.checkpoints import layouts, torch_files
from cmrrecon.networks.checkpoints.facts import Given, unused_release
from cmrrecon.networks.checkpoints.filling import fill, shared_keys, without_memory
from cmrrecon.networks.checkpoints.foreign import average_in, entries_of, text_of
from cmrrecon.networks.checkpoints.legacy_torch_files import START, is_legacy
from cmrrecon.networks.checkpoints.release import ReleaseFile, release_beside
from cmrrecon.networks.licences import LICENCES
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import check_regular, input_error
from cmrrecon.tools.provenance import plain

VARIANTS = ("kspace", "image")
PRETRAINED = Path(__file__).parents[2] / "pretrained"


@dataclass(frozen=True)
class Loaded:
    """A network from a file.

    Attributes
    ----------
    network : nn.Module
        The network on the CPU.
    metadata : mapping of str to str
        "network" (its name in the catalogue) and "config" (JSON). Our own files add "cmrrecon" (the
        version) and the metadata given to `save`. Those of other programs add "copy" (which of
        several copies of the weights was loaded), "weights_licence" (see `Licence.metadata`), and
        the facts of their layout, such as "variant_from" (how the variant was chosen).
    """

    network: nn.Module
    metadata: Mapping[str, str]


def from_state_dict(
    state_dict: Mapping[str, Tensor],
    variant: str | None = None,
    release: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network from a state dict of another program, with weights in float32.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        Exactly the tensors of the network, which are copied. Names and shapes determine the
        configuration.
    variant : str or None
        "kspace" or "image" (see `promptmr`), which a state dict does not show. None uses the
        variant of the official repository: "kspace" for PromptMR and "image" for PromptMR+.
    release : mapping of str to any, or None
        The configuration that came with the weights (see `release`), for networks whose state dict
        does not show everything.

    Raises
    ------
    InputError
        If the tensors do not fit (`checkpoint-mismatch`) or are not finite (`weights-not-finite`).
    UsageError
        If the variant is unknown (`unknown-variant`).
    """
    check_variant(variant)
    copies = {key: value.detach().clone() for key, value in state_dict.items()}
    given = Given("The state dict", release=release, variant=variant)
    return _of_other_program(copies, given).network


def load(
    path: str | Path, variant: str | None = None, release: Mapping[str, Any] | None = None
) -> Loaded:
    """Load the network in a checkpoint, with weights in float32.

    Parameters
    ----------
    path : str or Path
        A file written by `save`, or a checkpoint of another program in one of `layouts.LAYOUTS`
        (torch, also of versions before 1.6, or safetensors).
    variant : str or None
        See `from_state_dict`. None uses the variant stated in the file.
    release : mapping of str to any, or None
        See `from_state_dict`. None uses the YAML file beside the checkpoint, if there is one.

    Returns
    -------
    Loaded
        The network and the metadata of the file.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, or contains another network.
    UsageError
        If the variant is unknown (`unknown-variant`).
    """
    path = Path(path)
    check_variant(variant)
    start = _beginning(path)
    if start.startswith(b"PK\x03\x04") or is_legacy(start):
        return _load_torch(path, variant, release)
    if start[8:9] == b"{":
        return _load_safetensors(path, variant, release)

    if start.startswith(b"\x80"):
        raise InputError(
            "checkpoint-format",
            f"{path} is a pickle, but not one that torch.save wrote",
            "Checkpoints are files written by torch.save, or safetensors",
            "Give the file with the weights",
        )

    raise InputError(
        "checkpoint-format",
        f"{path} is not a checkpoint",
        "A file written by cmrrecon or torch.save is needed",
        "Give the file with the weights",
    )


def _beginning(path: Path) -> bytes:
    """Return the first bytes of a file, which identify its format."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return file.read(START)
    except OSError as error:
        raise input_error(path, error) from error


def save(path: str | Path, network: nn.Module, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network as safetensors, completely or not at all.

    Parameters
    ----------
    path : str or Path
        The file; an existing one is replaced.
    network : nn.Module
        Its name, configuration and weights are written, shared parameters only once.
    metadata : mapping of str to any, or None
        Further information (normalisation, recipe, training data, metrics, ...). Text is kept;
        other values become JSON.

    Raises
    ------
    UsageError
        If the network is not in the catalogue (`unknown-network`).
    OutputError
        If the file cannot be written (`output-unwritable`).
    """
    more = {
        key: value if isinstance(value, str) else json.dumps(plain(value))
        for key, value in (metadata or {}).items()
    }
    header = {**more, **_identity(network), "cmrrecon": __version__}
    state = network.state_dict(keep_vars=True)
    tensors = {keys[0]: state[keys[0]].detach().cpu().contiguous() for keys in shared_keys(state)}
    data = memoryview(serialised(tensors, header))

    with atomic(path) as temporary, open(temporary, "wb") as file:
        start = 8 + int.from_bytes(data[:8], "little")
        file.write(_with_sorted_header(bytes(data[8:start])))
        file.write(data[start:])


def installed_file(name: str) -> Path:
    """Return the path of the shipped weights of a network, whether they exist or not."""
    return PRETRAINED / f"{name}.safetensors"


def installed() -> dict[Path, dict[str, str]]:
    """Return the files of all shipped weights and their metadata."""
    return {path: metadata_of(path) for path in sorted(PRETRAINED.glob("*.safetensors"))}


def check_variant(variant: str | None) -> None:
    """Refuse an unknown variant of PromptMR (UsageError with `unknown-variant`)."""
    if variant not in (None, *VARIANTS):
        raise UsageError(
            "unknown-variant",
            f"There is no variant {variant!r}",
            f"The variants are: {', '.join(VARIANTS)}",
            "Choose one, or leave it out",
        )


def _release(path: Path, given: Mapping[str, Any] | None) -> Mapping[str, Any] | ReleaseFile | None:
    """Return the given configuration of the release, or the file beside the checkpoint."""
    return release_beside(path) if given is None else given


def _load_torch(path: Path, variant: str | None, release: Mapping[str, Any] | None) -> Loaded:
    given = Given(str(path), release=_release(path, release), variant=variant)
    tensors, others, copy = torch_files.read(
        path, lambda shapes: layouts.infer(entries_of(shapes), given)
    )
    parameters = others.get("hyper_parameters")
    if isinstance(parameters, Mapping):
        given = replace(given, parameters=parameters)

    loaded = _of_other_program(tensors, given)
    counts = {
        key: text_of(others[key])
        for key in ("epoch", "global_step")
        if isinstance(others.get(key), int)
    }
    copied = {"copy": copy} if copy else {}
    return Loaded(loaded.network, {**loaded.metadata, **counts, **copied})


def _load_safetensors(path: Path, variant: str | None, release: Mapping[str, Any] | None) -> Loaded:
    header = metadata_of(path)
    try:
        # Read at once: tensors mapped from the file would change with it while they are in use.
        tensors = deserialised(path.read_bytes())
    except (
        safetensors.SafetensorError, OSError, ValueError, RuntimeError, TypeError, AttributeError,
        OverflowError,
    ) as error:  # fmt: skip
        raise _damaged(path, error) from error

    if "network" not in header:
        given = Given(str(path), release=_release(path, release), variant=variant)
        loaded = _of_other_program(tensors, given)
        return Loaded(loaded.network, {**header, **loaded.metadata})
    if release is not None:
        raise unused_release(path)
    try:
        config = json.loads(header.get("config", ""))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error

    if not isinstance(config, dict):
        raise _damaged(path, "its configuration is not a mapping")

    if variant is not None:
        if "variant" not in config:
            raise _without_variants(path, header["network"])
        config["variant"] = variant

    network = without_memory(header["network"], config, tensors, str(path))
    for keys in shared_keys(network.state_dict(keep_vars=True)):
        if keys[0] in tensors:
            tensors.update((key, tensors[keys[0]]) for key in keys[1:] if key not in tensors)

    fill(network, tensors, str(path))
    return Loaded(network, {**header, **_identity(network)})


def metadata_of(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; refuse a damaged one (`checkpoint-damaged`)."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: object) -> InputError:
    return InputError(
        "checkpoint-damaged",
        f"{path} is damaged ({error!s:.100})",
        "A complete safetensors file is needed",
        "Download or create the file again",
    )


def _with_sorted_header(header: bytes) -> bytes:
    """Sort the header of a safetensors file, so that equal weights lead to equal files."""
    text = json.dumps(
        json.loads(header), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _of_other_program(tensors: Mapping[str, Tensor], given: Given) -> Loaded:
    """Build the network of a state dict of another program, reusing its tensors."""
    entries = entries_of(dict(tensors))
    inferred = layouts.infer({key: tuple(value.shape) for key, value in entries.items()}, given)
    if given.variant is not None and "variant" not in inferred.config:
        raise _without_variants(given.source, inferred.name)

    ours = layouts.renamed(entries, inferred, given.source)
    network = without_memory(inferred.name, inferred.config, ours, given.source)
    fill(network, ours, given.source)
    average = average_in(tensors)
    copy = {} if average is None else {"copy": f"the moving average in {average}*"}
    terms = LICENCES[inferred.name].metadata()
    return Loaded(network, {**_identity(network), **inferred.facts, **copy, **terms})


def _without_variants(source: object, name: str) -> UsageError:
    return UsageError(
        "unknown-variant",
        f"{source} contains the network {name}, which has no variants",
        "Only PromptMR and PromptMR+ have variants",
        "Leave the variant out",
    )


def _config(network: nn.Module) -> dict[str, Any]:
    """Return the configuration from which `build` builds such a network."""
    config: dict[str, Any] = vars(network)["config"]
    return config


def _identity(network: nn.Module) -> dict[str, str]:
    return {"network": name_of(network), "config": json.dumps(_config(network))}
