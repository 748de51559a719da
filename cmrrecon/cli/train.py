"""`cmrrecon train`: train a network with a recipe on a store made by `preprocess`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmrrecon.cli import options, running
from cmrrecon.cli.choices import complete_recipes, recipe_facts
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.stop_requests import stop_requests
from cmrrecon.cli.train_messages import (
    Pace,
    print_plan,
    print_recipe,
    print_start,
    report_rehearsal,
    report_run,
)
from cmrrecon.cli.train_scans import Scans, check_data, find_scans
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    import torch

    from cmrrecon.training.distributed import Group
    from cmrrecon.training.plan import Plan
    from cmrrecon.training.recipe import Recipe
    from cmrrecon.training.state import Run

EXAMPLE = examples(
    "cmrrecon train --recipe genre-cmr --data store --out-dir runs/genre",
    "cmrrecon train -r genre-cmr --data store --out-dir runs/a --set losses.ear.weight=0",
    "cmrrecon train -r kt-unrolled --out-dir runs/kt --dry-run",
)


def _print_recipes(requested: bool) -> None:
    if requested:
        for recipe in recipe_facts():
            print(f"{recipe.name}\t{recipe.paper}")
        raise typer.Exit


def train(
    recipe: Annotated[
        str | None,
        options.option(
            "--recipe",
            "-r",
            help="Name of a recipe, or a .toml file; see --list-recipes.",
            show_default=False,
            autocompletion=complete_recipes,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        options.option(
            "--data",
            help="Store made by `preprocess`, or a folder of fully sampled files.",
            show_default=False,
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        options.option(
            "--out-dir",
            "--out",
            help="Folder of the run; a run in this folder is resumed.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        options.option(
            "--set",
            help="Change a setting of the recipe, e.g. --set losses.sda.weight=0.",
            show_default=False,
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        options.option(
            "--hold-out",
            help="Exclude these scans from training and validation and score them separately, "
            "e.g. vendor=Siemens.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        options.option(
            "--only", help="Use only these scans, e.g. base=cine_sax.", show_default=False
        ),
    ] = None,
    list_recipes: Annotated[
        bool,
        typer.Option(
            "--list-recipes",
            callback=_print_recipes,
            is_eager=True,
            help="List the recipes and exit.",
        ),
    ] = False,
    print_config: Annotated[
        bool, options.option("--print-config", help="Print the complete recipe as JSON and exit.")
    ] = False,
    checkpointing: Annotated[
        bool | None,
        options.option(
            "--checkpointing/--no-checkpointing",
            help="Save memory at the cost of about a third more time.",
            show_default="on if memory is short",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        options.option(
            "--workers",
            help="Number of threads that prepare the next windows.",
            min=1,
            show_default="from the number of processors",
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        options.option("--tensorboard", help="Write TensorBoard events to the folder of the run."),
    ] = False,
    max_steps: Annotated[
        int | None,
        options.option(
            "--max-steps",
            help="Stop after this many steps, counted from the start of the run.",
            min=1,
            show_default=False,
        ),
    ] = None,
    device: options.Device = "auto",
    dry_run: Annotated[
        bool,
        options.option(
            "--dry-run",
            help="Time one or two real steps and print the plan without writing anything.",
        ),
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network with a recipe, or continue a run.

    When started again with the same folder, the run resumes exactly where it stopped. The folder
    receives last.pt (to resume), best.safetensors (for `reconstruct --checkpoint`), log.jsonl,
    pictures/ and run.json. The batch size, and whether to save memory, are planned from the scans
    and the device. On Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 the state is saved.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console), ExitStack() as processes:
        from cmrrecon.tools.devices import choose_device
        from cmrrecon.training import recipe as recipes
        from cmrrecon.training.checks import check
        from cmrrecon.training.distributed import group_of_processes
        from cmrrecon.training.identity import agreed_plan, only_run

        recipe = _require_name(recipe)
        chosen = check(recipes.load(recipe, set_ or []))
        if print_config:
            print_recipe(chosen)
            return
        out = _check_options(recipe, chosen, data, out_dir, selects=bool(hold_out or only))
        check_data(data)

        group, own_device = processes.enter_context(group_of_processes(device))
        chosen_device = choose_device(own_device)
        if group.rank > 0:
            console = Console(quiet=True, as_json=False, stdout_is_data=True)
        elif not dry_run:
            processes.enter_context(only_run(out))

        scans = find_scans(
            data, out, chosen, hold_out or [], only or [], console, group, dry_run=dry_run
        )
        plan = agreed_plan(
            out, chosen, *scans, chosen_device, group,
            checkpointing=checkpointing, workers=workers, write=not dry_run,
        )  # fmt: skip
        print_start(recipe, chosen, scans, chosen_device, console)
        print_plan(plan, chosen, group, console)

        if dry_run:
            _rehearse(
                recipe, chosen, data, scans, out, chosen_device, plan, group, console, max_steps
            )
            return
        run = _run(
            chosen, data, scans, out, chosen_device, plan, group, console, max_steps, tensorboard
        )
        if group.rank == 0:
            report_run(recipe, run, out, max_steps, console)


def _rehearse(
    name: str,
    recipe: "Recipe",
    data: Path | None,
    scans: Scans,
    out: Path,
    device: "torch.device",
    plan: "Plan",
    group: "Group",
    console: Console,
    max_steps: int | None,
) -> None:
    """Time one or two steps and report how long the run would take."""
    from cmrrecon.training.rehearsal import rehearse

    found = rehearse(recipe, data, scans.training, out, device, plan, group, most_steps=max_steps)
    if group.rank == 0:
        report_rehearsal(name, recipe, found, plan, scans, device, out, console)


def _run(
    recipe: "Recipe",
    data: Path | None,
    scans: Scans,
    out: Path,
    device: "torch.device",
    plan: "Plan",
    group: "Group",
    console: Console,
    max_steps: int | None,
    tensorboard: bool,
) -> "Run":
    """Train until the end or a stop request, with a progress bar, and report the pace."""
    from cmrrecon.training.loop import Hooks, train

    with stop_requests() as stopped, console.progress(str(out), 0, "batch") as bar:
        pace = Pace(bar, group.size)
        warn = console.warn if group.rank == 0 else console.say
        hooks = Hooks(console.say, warn, bar.expect, pace.on_step, stopped)
        run = train(
            recipe, data, *scans, out, device, plan, hooks, group,
            most_steps=max_steps, tensorboard=tensorboard,
        )  # fmt: skip
    if group.rank == 0:
        pace.report(console)
    return run


def _require_name(recipe: str | None) -> str:
    """Return the name of the recipe; raise a UsageError without one."""
    from cmrrecon.training import recipe as recipes

    if recipe is None:
        raise UsageError(
            "option-missing",
            "No recipe was given",
            f"The recipes are: {', '.join(recipes.names())}",
            "Choose one with --recipe",
        )
    return recipe


def _check_options(
    name: str, recipe: "Recipe", data: Path | None, out: Path | None, *, selects: bool
) -> Path:
    """Return the folder of the run; raise a UsageError if options conflict.

    `selects` states whether --hold-out or --only was used.
    """
    if recipe.data.scenes and selects:
        raise UsageError(
            "options-conflict",
            "--hold-out or --only was given, but the recipe trains on random scans",
            "These options select scans of a store",
            "Leave them out",
        )

    if recipe.data.scenes and data is not None:
        raise UsageError(
            "options-conflict",
            f"--data was given, but {name} trains on random scans "
            f"(data.scenes = {recipe.data.scenes})",
            "Training uses either random scans or files",
            "Leave --data out, or add --set data.scenes=0",
        )

    if out is None or (data is None and not recipe.data.scenes):
        missing = "--data" if out is not None else "--out-dir"
        raise UsageError(
            "option-missing",
            f"{missing} was not given",
            "Training needs scans (--data) and a folder for the run (--out-dir)",
            f"Add {missing}",
        )
    return out
