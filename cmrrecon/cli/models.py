"""`cmrrecon models`: the networks, their recipes, the weights that are installed, and what checkpoints hold."""

import json as json_text
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmrrecon.cli import options, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.usage_errors import Commands
from cmrrecon.tools.errors import OutputError, UsageError

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = examples(
    "cmrrecon models --json | jq .network",
    "cmrrecon models show weights.safetensors",
    "cmrrecon models convert promptmr-epoch=11.ckpt promptmr.safetensors",
)
SUFFIX = ".safetensors"

File = Annotated[
    Path,
    typer.Argument(
        help="A checkpoint of cmrrecon, or of PromptMR or PromptMR+ (.ckpt, .pt, .pth).",
        show_default=False,
    ),
]
Shown = Annotated[
    Path, typer.Argument(help="A checkpoint, or the name of installed weights.", show_default=False)
]
Variant = Annotated[
    str | None,
    options.option(
        "--variant",
        help="Iteration of a PromptMR: kspace or image; by default as its repository has it.",
        show_default=False,
    ),
]

app = typer.Typer(invoke_without_command=True, cls=Commands)


@app.callback()
def models(
    context: typer.Context, quiet: options.Quiet = False, json: options.Json = False
) -> None:
    """List the networks, the recipes that train them and the installed weights; `show` and `convert` checkpoints."""
    if context.invoked_subcommand is not None:
        context.default_map = {name: {"quiet": quiet, "json": json} for name in ("show", "convert")}
        return
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        _list_networks(console)
        _list_recipes(console)
        _list_weights(console)


def _list_networks(console: Console) -> None:
    import torch

    from cmrrecon.networks.catalog import NETWORKS, build

    console.say(
        "networks in their default configuration: cascades, parameters, memory of the weights, source"
    )
    for entry in NETWORKS.values():
        with torch.device("meta"):
            facts = _facts(build(entry.name))
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
    from cmrrecon.training import recipe as recipes

    for name in recipes.names():
        recipe = recipes.load(name)
        network = recipe.network["name"]
        record = {"kind": "recipe", "recipe": name, "network": network, "source": recipe.paper}
        console.result(record, f"{name}: a recipe for {network} ({recipe.paper})")


def _list_weights(console: Console) -> None:
    from cmrrecon.networks.checkpoints import weights

    installed = weights.installed()
    for path, metadata in installed.items():
        console.result(
            {"kind": "weights", "input": str(path), "metadata": metadata},
            f"{path}: weights of {metadata.get('network', '?')}",
        )
    if not installed:
        console.say(
            "no weights are installed; `cmrrecon models convert` makes some of an official checkpoint"
        )


@app.command(
    "show",
    epilog="Examples: cmrrecon models show kt-unrolled; cmrrecon models show weights.safetensors --json | jq .config",
)
def show(
    file: Shown, variant: Variant = None, quiet: options.Quiet = False, json: options.Json = False
) -> None:
    """Say what network a checkpoint holds, how it is configured, and what is known of it."""
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.networks.checkpoints import weights

        # The name of installed weights will do.
        installed = weights.installed_file(str(file))
        file = installed if installed.is_file() and not file.exists() else file
        loaded = weights.load(file, variant)
        facts = _facts(loaded.network)
        name, rest = _told(loaded.metadata)
        line = f"{file}: {name}, {' '.join(_size(facts).split())}"
        lines = [
            line,
            *(f"  {key}: {value}" for key, value in {**_flat(facts["config"]), **rest}.items()),
        ]
        console.result(
            {"kind": "weights", "input": str(file), "network": name, **facts, "metadata": rest},
            "\n".join(lines),
        )


@app.command(
    "convert",
    epilog="Example: cmrrecon models convert promptmr-epoch=11.ckpt promptmr.safetensors --variant kspace",
)
def convert(
    file: File,
    output: Annotated[
        Path, typer.Argument(help="The file to write, .safetensors.", show_default=False)
    ],
    variant: Variant = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make a safetensors file of a checkpoint: smaller, quicker to load, and it says itself what network it is."""
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.networks.checkpoints import weights
        from cmrrecon.tools import provenance

        _check_converted(file, output, overwrite)
        loaded = weights.load(file, variant)
        name, rest = _told(loaded.metadata)
        origin = {"name": file.name, "sha256": provenance.file_digest(file)}
        weights.save(output, loaded.network, {**rest, "converted_from": origin})
        facts = _facts(loaded.network)
        chosen = facts["config"].get("variant")
        why = f", variant {chosen} ({rest['variant_from']})" if "variant_from" in rest else ""
        console.say(f"{file}: {name}, {' '.join(_size(facts).split())}{why}")
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
    """Refuse an output that is no safetensors file, is the checkpoint itself, or exists."""
    from cmrrecon.cli import outputs

    if output.suffix.lower() != SUFFIX:
        raise UsageError(
            "output-format",
            f"{output} does not end in {SUFFIX}",
            "Weights are written as safetensors",
            f"Name the output *{SUFFIX}",
        )
    outputs.refuse_inputs([output], [file])
    if output.exists() and not overwrite:
        raise OutputError(
            "output-exists",
            f"{output} exists",
            "Outputs are replaced only on request",
            "Add --overwrite, or name another output",
        )


def _facts(network: "nn.Module") -> dict[str, Any]:
    """Configuration and size of a network."""
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


def _told(metadata: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The network's name, and what else a checkpoint says beside its configuration."""
    return metadata["network"], {
        key: value for key, value in metadata.items() if key not in ("network", "config")
    }


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: json_text.dumps(value) if isinstance(value, dict) else str(value)
        for key, value in config.items()
    }
