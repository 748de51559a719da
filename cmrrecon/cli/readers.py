"""`cmrrecon readers`: make a blinded reading page, and analyse what readers exported."""

from pathlib import Path
from typing import Annotated

import typer

from cmrrecon.cli import options, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.usage_errors import Commands

EXAMPLE = examples(
    "cmrrecon readers make sense=rec/sense auto=rec/auto -o study.html",
    "cmrrecon readers analyse answers/*.json --key study_key.json",
)
MAKE_EXAMPLE = examples(
    "cmrrecon readers make sense=rec/sense auto=rec/auto -o study.html",
    "cmrrecon readers make rec/ --criteria Sharpness,Artefacts --readers 4",
    "cmrrecon readers make rec/ --pairs --criteria 'Overall quality' --repeats 5",
)
ANALYSE_EXAMPLE = examples(
    "cmrrecon readers analyse reading-*.json --key study_key.json",
    "cmrrecon readers analyse answers/ --key study_key.json --out-dir results",
)

app = typer.Typer(no_args_is_help=True, cls=Commands, rich_markup_mode=None)


@app.callback()
def readers() -> None:
    """Blinded reading of images by several readers: make a page, analyse the answers."""


@app.command("make", epilog=MAKE_EXAMPLE)
def make(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Folders of reconstructions, as NAME=FOLDER. Without a name, the method is read "
            "from the files.",
            show_default=False,
        ),
    ],
    criteria: Annotated[
        list[str] | None,
        options.option(
            "--criteria",
            help="What readers judge; repeat the option, or separate criteria with commas.",
            show_default="Image quality",
        ),
    ] = None,
    pairs: Annotated[
        bool,
        options.option(
            "--pairs",
            help="Show two methods side by side and ask which is better, instead of rating single "
            "images from 1 to 5.",
        ),
    ] = False,
    readers: Annotated[
        int, options.option("--readers", help="Number of readers.", min=1, max=99)
    ] = 3,
    repeats: Annotated[
        int | None,
        options.option(
            "--repeats",
            help="Number of scans that every reader sees twice.",
            min=0,
            show_default="a fifth of the scans",
        ),
    ] = None,
    slices: Annotated[
        int | None,
        options.option(
            "--slices",
            "--slice",
            help="Slice to show, counted from 0.",
            min=0,
            show_default="the middle one",
        ),
    ] = None,
    seed: Annotated[
        int, options.option("--seed", help="Seed of order and sides, mixed with the images.")
    ] = 0,
    output: Annotated[
        Path, options.option("--output", "-o", help="The reading page (.html).")
    ] = Path("reading.html"),
    key: Annotated[
        Path | None,
        options.option(
            "--key",
            help="Key that names the methods; keep it from the readers.",
            show_default="<name>_key.json beside the page",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make a blinded, randomised reading page from reconstructions by several methods.

    The page is one file that works without a network. Readers rate each image from 1 to 5, or
    choose the better of two. Answers stay in their browser until they export them.

    The key is a separate file. Send only the page to the readers.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.cli.readers_make import Plan, make_study

        plan = Plan.of(
            criteria=criteria,
            pairs=pairs,
            readers=readers,
            repeats=repeats,
            slice_=slices,
            seed=seed,
            page=output,
            key=key,
        )
        make_study(folders, plan, console, overwrite=overwrite, dry_run=dry_run)


@app.command("analyse", epilog=ANALYSE_EXAMPLE)
def analyse(
    exports: Annotated[
        list[str],
        typer.Argument(
            help="Files that the readers exported, or folders of them.", show_default=False
        ),
    ],
    key: Annotated[Path, options.option("--key", help="The key of the study.", show_default=False)],
    out_dir: Annotated[
        Path, options.option("--out-dir", help="Folder for tables and figures.")
    ] = Path("reader_study"),
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Unblind the answers of readers and compare the methods.

    Ratings: medians, quartiles, Wilcoxon signed-rank tests (two methods) or Friedman tests with
    Wilcoxon tests of each pair, corrected by the method of Holm. Preferences: shares and sign
    tests. Agreement: weighted kappa between and within readers.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console):
        from cmrrecon.cli.readers_analyse import analyse_study

        analyse_study(exports, key, out_dir, console, overwrite=overwrite)
