"""The lists that `cmrrecon models` prints."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cmrrecon.cli.choices import recipe_facts
from cmrrecon.cli.console import Console

TABLE_WIDTH = 80


def list_networks(console: Console) -> None:
    """Print the size and source of each network."""
    from cmrrecon.networks.catalog import NETWORKS
    from cmrrecon.networks.licences import LICENCES
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
            "licence": asdict(LICENCES[entry.name]),
            **facts,
        }
        words = f"{size_words(facts)}  {entry.summary} ({entry.source})"
        kind = "; a discriminator" if entry.discriminator else ""
        console.result(record, f"{entry.name:<14}{words}{kind}")


def list_licences(console: Console) -> None:
    """Print the table of licences; with `--json` they are part of the networks' records."""
    from cmrrecon.cli.text_table import text_table
    from cmrrecon.networks.catalog import NETWORKS
    from cmrrecon.networks.licences import LICENCES

    if console.as_json:
        return
    rows = [
        (name, terms.code, terms.weights, terms.published)
        for name, terms in ((name, LICENCES[name]) for name in NETWORKS)
    ]
    title = (
        "licences of the official programs and of their published weights (the programs here are "
        "Apache-2.0); `cmrrecon models show NAME` says what you may do:"
    )
    columns = ("network", "program", "weights", "weights published at")
    console.result({}, text_table(title, columns, rows, TABLE_WIDTH, names=len(columns)))


def list_recipes(console: Console) -> None:
    """Print the network and source of each recipe."""
    for recipe in recipe_facts():
        record = {
            "kind": "recipe",
            "recipe": recipe.name,
            "network": recipe.network,
            "source": recipe.paper,
        }
        console.result(record, f"{recipe.name}: a recipe for {recipe.network} ({recipe.paper})")


def list_weights(console: Console) -> None:
    """Print the files of installed weights."""
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


def size_words(facts: Mapping[str, Any]) -> str:
    """Return cascades, parameters and memory of a network as columns of a line."""
    cascades = "" if facts["cascades"] is None else f"{facts['cascades']} cascades"
    return f"{cascades:>11} {facts['parameters']:>12,} parameters {facts['weights_mib']:>6.1f} MiB"
