"""`cmrrecon models`: list networks, recipes and weights; show and convert checkpoints."""

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import options, running
from cmrrecon.cli.choices import recipe_facts
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
    "cmrrecon models convert runs/genre/last.pt genre.safetensors",
)
SUFFIX = ".safetensors"

File = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint of cmrrecon, PromptMR or PromptMR+ (.ckpt, .pt, .pth).",
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
    """List networks, recipes and installed weights; show or convert checkpoints."""
    if context.invoked_subcommand is not None:
        context.default_map = {name: {"quiet": quiet, "json": json} for name in ("show", "convert")}
        return
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        _list_networks(console)
        _list_recipes(console)
        _list_weights(console)


def _list_networks(console: Console) -> None:
    from cmrrecon.networks.catalog import NETWORKS
    from cmrrecon.networks.sizes import SIZES

    console.say(
        "networks in their default configuration, with cascades, parameters, memory of the "
        "weights and source:"
    )
    for entry in NETWORKS.values():
        size = SIZES[entry.name]
        facts = {**size._asdict(), "weights_mib": size.weights_mib}
        record = {
            "kind": "discriminator" if entry.discriminator else "network",
            "network": entry.name,
            "summary": entry.summary,
            "source": entry.source,
            **facts,
        }
        words = f"{_size(facts)}  {entry.summary} ({entry.source})"
        kind = "; a discriminator" if entry.discriminator else ""
        console.result(record, f"{entry.name:<14}{words}{kind}")


def _list_recipes(console: Console) -> None:
    for recipe in recipe_facts():
        record = {
            "kind": "recipe",
            "recipe": recipe.name,
            "network": recipe.network,
            "source": recipe.paper,
        }
        console.result(record, f"{recipe.name}: a recipe for {recipe.network} ({recipe.paper})")


def _list_weights(console: Console) -> None:
    from cmrrecon.networks.checkpoints import headers

    installed = headers.installed_metadata()
    for path, metadata in installed.items():
        console.result(
            {"kind": "weights", "input": str(path), "metadata": metadata},
            f"{path}: weights of {metadata.get('network', '?')}",
        )
    if not installed:
        console.say(
            "no weights are installed; `cmrrecon models convert` creates them from a checkpoint"
        )


@app.command("show", epilog=SHOW_EXAMPLE)
def show(
    file: Shown, variant: Variant = None, quiet: options.Quiet = False, json: options.Json = False
) -> None:
    """Show the network in a checkpoint: configuration, size and metadata."""
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.networks.catalog import NETWORKS
        from cmrrecon.networks.checkpoints import weights

        installed = weights.installed_file(str(file))
        if not file.exists() and installed.is_file():
            file = installed
        elif not file.exists() and str(file) in NETWORKS:
            _show_network(str(file), variant, console)
            return

        loaded = _load(file, variant)
        name, rest = _name_and_rest(loaded.metadata)
        _show("weights", str(file), name, _facts(loaded.network), rest, console)


def _load(file: Path, variant: str | None) -> "Loaded":
    """Load the network of a checkpoint or of a training state."""
    from cmrrecon.networks.checkpoints import weights
    from cmrrecon.training.export import is_state, weights_of_run

    return weights_of_run(file) if is_state(file) else weights.load(file, variant)


def _show_network(name: str, variant: str | None, console: Console) -> None:
    """Show the default configuration of a network."""
    import torch

    from cmrrecon.networks.catalog import build

    with torch.device("meta"):
        network = build(name, {} if variant is None else {"variant": variant})
    _show("network", name, name, _facts(network), {}, console)


def _show(
    kind: str,
    source: str,
    name: str,
    facts: Mapping[str, Any],
    rest: Mapping[str, str],
    console: Console,
) -> None:
    """Print a summary line, then one line per setting of the network and per metadata entry."""
    details = {**_flat(facts["config"]), **rest}
    lines = [
        f"{source}: {name}, {' '.join(_size(facts).split())}",
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
        loaded = _load(file, variant)
        name, rest = _name_and_rest(loaded.metadata)
        origin = {"name": file.name, "sha256": provenance.file_digest(file)}
        weights.save(output, loaded.network, {**rest, "converted_from": origin})

        facts = _facts(loaded.network)
        chosen = facts["config"].get("variant")
        variant_text = (
            f", variant {chosen} ({rest['variant_from']})" if "variant_from" in rest else ""
        )
        console.say(f"{file}: {name}, {' '.join(_size(facts).split())}{variant_text}")
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


def _size(facts: Mapping[str, Any]) -> str:
    cascades = "" if facts["cascades"] is None else f"{facts['cascades']} cascades"
    return f"{cascades:>11} {facts['parameters']:>12,} parameters {facts['weights_mib']:>6.1f} MiB"


def _name_and_rest(metadata: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the name of the network and the metadata without name and configuration."""
    rest = {key: value for key, value in metadata.items() if key not in ("network", "config")}
    return metadata["network"], rest


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: json_text.dumps(value) if isinstance(value, dict) else str(value)
        for key, value in config.items()
    }
