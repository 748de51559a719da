"""`cmrrecon models`: list networks, recipes and weights; show and convert checkpoints."""

import json as json_text
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import models_list, options, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.usage_errors import Commands
from cmrrecon.tools.errors import OutputError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from cmrrecon.networks.checkpoints.weights import Loaded

EXAMPLE = examples(
    "cmrrecon models --json | jq .network",
    "cmrrecon models show promptmr",
    "cmrrecon models show weights.safetensors",
    "cmrrecon models convert promptmr-epoch=11.ckpt promptmr.safetensors",
)
SHOW_EXAMPLE = examples(
    "cmrrecon models show kt-unrolled",
    "cmrrecon models show weights.safetensors --json | jq .config",
)
CONVERT_EXAMPLE = examples(
    "cmrrecon models convert promptmr-epoch=11.ckpt promptmr.safetensors --variant kspace",
    "cmrrecon models convert vsharp.pt vsharp.safetensors --release-config vsharp.yaml",
    "cmrrecon models convert runs/genre/last.pt genre.safetensors",
)
SUFFIX = ".safetensors"

File = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint of cmrrecon, or of another program (.ckpt, .pt, .pth).",
        show_default=False,
    ),
]
Shown = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint, or the name of a network. A name shows the installed weights if there "
        "are any, otherwise the default configuration.",
        show_default=False,
    ),
]
ReleaseConfig = Annotated[
    Path | None,
    options.option(
        "--release-config",
        help="YAML file that was published with the weights, for networks whose tensors do not "
        "show the whole configuration.",
        show_default="beside the checkpoint, with its name",
    ),
]
Preset = Annotated[
    str | None,
    options.option(
        "--preset",
        help="Name of a release whose configuration is known, instead of its YAML file.",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None,
    options.option(
        "--variant",
        help="Variant of the PromptMR iteration: kspace or image.",
        show_default="as in its repository",
    ),
]

app = typer.Typer(invoke_without_command=True, cls=Commands, rich_markup_mode=None)


@app.callback()
def models(
    context: typer.Context, quiet: options.Quiet = False, json: options.Json = False
) -> None:
    """List networks, licences, recipes and installed weights; show or convert checkpoints."""
    if context.invoked_subcommand is not None:
        context.default_map = {name: {"quiet": quiet, "json": json} for name in ("show", "convert")}
        return
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        models_list.list_networks(console)
        models_list.list_licences(console)
        models_list.list_recipes(console)
        models_list.list_weights(console)


@app.command("show", epilog=SHOW_EXAMPLE)
def show(
    file: Shown,
    variant: Variant = None,
    release_config: ReleaseConfig = None,
    preset: Preset = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Show the network in a checkpoint: configuration, size, metadata and licence."""
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.networks.catalog import NETWORKS
        from cmrrecon.networks.checkpoints import weights
        from cmrrecon.networks.checkpoints.facts import unused_release

        installed = weights.installed_file(str(file))
        if not file.exists() and installed.is_file():
            file = installed
        elif not file.exists() and str(file) in NETWORKS:
            if release_config is not None or preset is not None:
                raise unused_release(file)
            _show_network(str(file), variant, console)
            return

        loaded = _load(file, variant, release_config, preset)
        name, rest = _name_and_rest(loaded.metadata)
        _show("weights", str(file), name, _facts(loaded.network), rest, console)


def _load(
    file: Path, variant: str | None, release_config: Path | None, preset: str | None
) -> "Loaded":
    """Load the network of a checkpoint or of a training state."""
    from cmrrecon.networks.checkpoints import layouts, weights
    from cmrrecon.networks.checkpoints.facts import unused_release
    from cmrrecon.networks.checkpoints.release import read_release
    from cmrrecon.training.export import is_state, weights_of_run

    if release_config is not None and preset is not None:
        raise UsageError(
            "options-conflict",
            "--release-config and --preset were both given",
            "Either describes the release of the weights",
            "Give one of them",
        )

    release = None if preset is None else layouts.preset(preset)
    if release_config is not None:
        release = read_release(release_config)
    if not is_state(file):
        return weights.load(file, variant, release)
    if release is not None:
        raise unused_release(file)
    return weights_of_run(file)


def _show_network(name: str, variant: str | None, console: Console) -> None:
    """Show the default configuration of a network."""
    import torch

    from cmrrecon.networks.catalog import build
    from cmrrecon.networks.licences import LICENCES

    with torch.device("meta"):
        network = build(name, {} if variant is None else {"variant": variant})
    terms = asdict(LICENCES[name])
    _show("network", name, name, {**_facts(network), "licence": terms}, {}, console)


def _show(
    kind: str,
    source: str,
    name: str,
    facts: Mapping[str, Any],
    rest: Mapping[str, str],
    console: Console,
) -> None:
    """Print a summary line, then one line per setting of the network and per metadata entry."""
    terms = {
        f"licence of the {part}" if part in ("code", "weights") else part: text
        for part, text in facts.get("licence", {}).items()
        if text
    }
    details = {**_flat(facts["config"]), **rest, **terms}
    lines = [
        f"{source}: {name}, {' '.join(models_list.size_words(facts).split())}",
        *(f"  {key}: {value}" for key, value in details.items()),
    ]
    record = {"kind": kind, "input": source, "network": name, **facts, "metadata": rest}
    console.result(record, "\n".join(lines))


@app.command("convert", epilog=CONVERT_EXAMPLE)
def convert(
    file: File,
    output: Annotated[
        Path, typer.Argument(help="File to write, ending in .safetensors.", show_default=False)
    ],
    variant: Variant = None,
    release_config: ReleaseConfig = None,
    preset: Preset = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Convert a checkpoint to safetensors.

    The new file is smaller, loads faster, and names its network.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.networks.checkpoints import weights
        from cmrrecon.tools import provenance

        _check_converted(file, output, overwrite)
        loaded = _load(file, variant, release_config, preset)
        name, rest = _name_and_rest(loaded.metadata)
        origin = {"name": file.name, "sha256": provenance.file_digest(file)}
        weights.save(output, loaded.network, {**rest, "converted_from": origin})

        facts = _facts(loaded.network)
        chosen = facts["config"].get("variant")
        variant_text = (
            f", variant {chosen} ({rest['variant_from']})" if "variant_from" in rest else ""
        )
        console.say(
            f"{file}: {name}, {' '.join(models_list.size_words(facts).split())}{variant_text}"
        )
        for key in ("copy", "weights_licence", "weights_use", "weights_notice"):
            if key in rest:
                console.say(f"{key.replace('_', ' ')}: {rest[key]}")
        record = {
            "status": "done",
            "input": str(file),
            "output": str(output),
            "network": name,
            **facts,
            "metadata": rest,
        }
        console.result(record, str(output))


def _check_converted(file: Path, output: Path, overwrite: bool) -> None:
    """Refuse an output that has another suffix, is the checkpoint itself, or already exists."""
    from cmrrecon.cli import outputs

    if output.suffix.lower() != SUFFIX:
        raise UsageError(
            "output-format",
            f"{output} does not end in {SUFFIX}",
            "Weights are written in the safetensors format",
            f"Choose an output name that ends in {SUFFIX}",
        )
    outputs.refuse_inputs([output], [file])
    if output.exists() and not overwrite:
        raise OutputError(
            "output-exists",
            f"{output} already exists",
            "Outputs are replaced only on request",
            "Add --overwrite, or choose another output",
        )


def _facts(network: "nn.Module") -> dict[str, Any]:
    """Return the configuration and size of a network."""
    parameters = list(network.parameters())
    config: dict[str, Any] = vars(network)["config"]
    return {
        "cascades": config.get("cascades", config.get("stages")),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "weights_mib": round(sum(parameter.nbytes for parameter in parameters) / 2**20, 1),
        "config": config,
    }


def _name_and_rest(metadata: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the name of the network and the metadata without name and configuration."""
    rest = {key: value for key, value in metadata.items() if key not in ("network", "config")}
    return metadata["network"], rest


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: json_text.dumps(value) if isinstance(value, dict) else str(value)
        for key, value in config.items()
    }
