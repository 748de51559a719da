"""Networks and their weights, to and from files: our own (safetensors) and the official checkpoints of PromptMR and PromptMR+.

No file is trusted: nothing in one is executed, and everything it declares is checked against what is there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
from safetensors.torch import save as serialised
from torch import Tensor, nn

from cmrrecon import __version__
from cmrrecon.networks.catalog import name_of
from cmrrecon.networks.checkpoints import layouts, torch_files
from cmrrecon.networks.checkpoints.filling import SHOWN, fill, shared_keys, without_memory
from cmrrecon.tools.atomic import atomic
from cmrrecon.tools.errors import InputError, UsageError
from cmrrecon.tools.files import input_error
from cmrrecon.tools.provenance import plain

VARIANTS = ("kspace", "image")
LIGHTNING_PREFIX = "promptmr."
# Of the training, not of the network.
LOSS_WINDOW = "loss.w"
# The hyper-parameters that only the PromptMR-plus repository has, and what its two implementations are called.
PLUS_PARAMETERS = ("model_version", "n_history", "n_buffer", "use_sens_adj", "adaptive_input")
VERSIONS = {"promptmr_v2": "image", "promptmr": "kspace", "promptmr_v1": "kspace"}
PRETRAINED = Path(__file__).parents[2] / "pretrained"
Value = TypeVar("Value")


@dataclass(frozen=True)
class Loaded:
    """A network from a file.

    Attributes
    ----------
    network : on the CPU
    metadata : what the file says of it, all text: "network" (its name in the catalogue), "config" (JSON); of own files also "cmrrecon"
        (the version) and what was given to `save`; of official ones "variant_from" (how the variant was chosen)
    """

    network: nn.Module
    metadata: Mapping[str, str]


def from_state_dict(state_dict: Mapping[str, Tensor], variant: str | None = None) -> nn.Module:
    """PromptMR or PromptMR+ with the weights of an official state dict as float32, configured by its names and shapes.

    Parameters
    ----------
    state_dict : every key of the network and no other; the tensors are copied
    variant : "kspace" or "image" (see `promptmr`), which the state dict does not tell; by default "kspace" for the layout of PromptMR
        and "image" for that of PromptMR+, as their repositories have them

    Raises
    ------
    InputError : it is of another network, or keys are missing, left over, of wrong shapes or types, or differ where they are shared
    UsageError : there is no such variant
    """
    check_variant(variant)
    return _official(
        {key: value.detach().clone() for key, value in state_dict.items()},
        variant,
        "The state dict",
    )


def load(path: str | Path, variant: str | None = None) -> Loaded:
    """The network in a checkpoint, its weights as float32.

    Parameters
    ----------
    path : a file of `save`; an official Lightning file; or a bare state dict of PromptMR or PromptMR+, of torch or safetensors
    variant : as of `from_state_dict`; by default as the file says

    Raises
    ------
    InputError : the file cannot be read, is damaged, or holds another network
    UsageError : there is no such variant
    """
    path = Path(path)
    check_variant(variant)
    start = _beginning(path)
    if start.startswith(b"PK\x03\x04"):
        return _load_torch(path, variant)

    if start[8:] == b"{":
        return _load_safetensors(path, variant)
    if start.startswith(b"\x80"):
        raise InputError(
            "checkpoint-format",
            f"{path} is a bare pickle, as PyTorch wrote before version 1.6",
            "Checkpoints are zip files of torch.save, or safetensors",
            "Save it again: torch.save(torch.load(FILE, weights_only=True), NEW)",
        )

    raise InputError(
        "checkpoint-format",
        f"{path} is no checkpoint",
        "A file of cmrrecon, or a .ckpt or .pth of PromptMR is needed",
        "Give the file of the weights",
    )


def _beginning(path: Path) -> bytes:
    """The first bytes of a file, which tell what it is."""
    try:
        with open(path, "rb") as file:
            return file.read(9)
    except OSError as error:
        raise input_error(path, error) from error


def save(path: str | Path, network: nn.Module, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network of the catalogue as safetensors, whole or not at all; shared parameters once.

    Parameters
    ----------
    path : replaced if it exists
    network : its name, configuration and weights are written
    metadata : what else the file should say (normalisation, recipe, training data, metrics, ..); text stays, other values become JSON

    Raises
    ------
    UsageError : the network is not in the catalogue
    OutputError : the file cannot be written
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
        file.write(_in_order(bytes(data[8:start])))
        file.write(data[start:])


def installed_file(name: str) -> Path:
    """Where the weights of a network would be that came with the package."""
    return PRETRAINED / f"{name}.safetensors"


def installed() -> dict[Path, dict[str, str]]:
    """The weights that came with the package, and what they say of themselves."""
    return {path: _header(path) for path in sorted(PRETRAINED.glob("*.safetensors"))}


def check_variant(variant: str | None) -> None:
    """Refuse what is no variant of PromptMR.

    Raises
    ------
    UsageError : it is none
    """
    if variant not in (None, *VARIANTS):
        raise UsageError(
            "unknown-variant",
            f"There is no variant {variant!r}",
            f"The variants are: {', '.join(VARIANTS)}",
            "Choose one, or leave it out",
        )


def _load_torch(path: Path, variant: str | None) -> Loaded:
    tensors, beside = torch_files.read(path, lambda shapes: layouts.infer(_bare(shapes), str(path)))
    given = beside.get("hyper_parameters")
    parameters = given if isinstance(given, Mapping) else {}
    reason = "as asked for"

    if variant is None:
        variant, reason = _variant_of(parameters)
    network = _official(_bare(tensors), variant, str(path))
    cascades = _config(network)["cascades"]

    if parameters.get("num_cascades", cascades) != cascades:
        raise InputError(
            "checkpoint-mismatch",
            f"{path} has the weights of {cascades} cascades of {_shown(parameters['num_cascades'])}",
            "All that its hyper-parameters count are needed",
            "Fetch the checkpoint again",
        )

    counts = {
        key: _shown(beside[key])
        for key in ("epoch", "global_step")
        if isinstance(beside.get(key), int)
    }

    return Loaded(network, {**_identity(network), "variant_from": reason, **counts})


def _bare(entries: dict[str, Value]) -> dict[str, Value]:
    """The entries of the network among those of a Lightning file, by their own names."""
    if not any(key.startswith(LIGHTNING_PREFIX) for key in entries):
        return entries
    return {
        key.removeprefix(LIGHTNING_PREFIX): value
        for key, value in entries.items()
        if key != LOSS_WINDOW
    }


def _variant_of(parameters: Mapping[str, Any]) -> tuple[str | None, str]:
    """The variant that the hyper-parameters of a Lightning file mean, and why."""
    if not any(key in parameters for key in PLUS_PARAMETERS):
        return None, "the repository of this layout"
    version = parameters.get("model_version", "promptmr_v2")
    if not isinstance(version, str) or version not in VERSIONS:
        raise InputError(
            "unknown-variant",
            f"The hyper-parameters name the model version {_shown(version)}",
            f"The known ones are: {', '.join(VERSIONS)}",
            "Say with the variant which iteration it is: kspace or image",
        )

    return VERSIONS[version], f"model_version {version}" + (
        "" if "model_version" in parameters else " (the default of PromptMR-plus)"
    )


def _shown(value: Any) -> str:
    """A value of a file, for messages. The text of nested tuples can be of any length, that of large numbers an error."""
    if isinstance(value, str):
        return repr(value[:SHOWN])
    return (
        str(value)
        if isinstance(value, int) and value.bit_length() <= 64
        else f"of type {type(value).__name__}"
    )


def _load_safetensors(path: Path, variant: str | None) -> Loaded:
    header = _header(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (
        safetensors.SafetensorError,
        OSError,
        ValueError,
        RuntimeError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise _damaged(path, error) from error

    if "network" not in header:
        network = _official(tensors, variant, str(path))
        return Loaded(network, {**header, **_identity(network)})
    try:
        config = json.loads(header.get("config", ""))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, error) from error

    if not isinstance(config, dict):
        raise _damaged(path, "its configuration is no mapping")
    if variant is not None:
        if "variant" not in config:
            raise UsageError(
                "unknown-variant",
                f"{path} holds a network {header['network']}, which has no variants",
                "Variants are of PromptMR and PromptMR+",
                "Leave it out",
            )
        config["variant"] = variant

    network = without_memory(header["network"], config, tensors, str(path))
    for keys in shared_keys(network.state_dict(keep_vars=True)):
        if keys[0] in tensors:
            tensors.update((key, tensors[keys[0]]) for key in keys[1:] if key not in tensors)

    fill(network, tensors, str(path))
    return Loaded(network, {**header, **_identity(network)})


def _header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: object) -> InputError:
    return InputError(
        "checkpoint-damaged",
        f"{path} is damaged ({error!s:.100})",
        "A whole safetensors file is needed",
        "Fetch or make the file again",
    )


def _in_order(header: bytes) -> bytes:
    """The beginning of a safetensors file, in order: equal weights should be equal files."""
    text = json.dumps(
        json.loads(header), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _official(tensors: dict[str, Tensor], variant: str | None, source: str) -> nn.Module:
    """The network of an official state dict, which takes over the tensors."""
    name, config = layouts.infer(
        {key: tuple(value.shape) for key, value in tensors.items()}, source
    )
    network = without_memory(
        name, config if variant is None else {**config, "variant": variant}, tensors, source
    )
    fill(network, tensors, source)
    return network


def _config(network: nn.Module) -> dict[str, Any]:
    """What `build` makes such a network of."""
    config: dict[str, Any] = vars(network)["config"]
    return config


def _identity(network: nn.Module) -> dict[str, str]:
    return {"network": name_of(network), "config": json.dumps(_config(network))}
