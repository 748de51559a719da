"""`cmrrecon train`: a network by a recipe, on a store of `preprocess`."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cmrrecon.cli import inputs, options, running
from cmrrecon.cli.console import Console
from cmrrecon.cli.help import examples
from cmrrecon.cli.train_messages import Pace, print_recipe, report, tell_plan, tell_start
from cmrrecon.tools.errors import UsageError

if TYPE_CHECKING:
    import torch

    from cmrrecon.training.distributed import Group
    from cmrrecon.training.entries import Entry
    from cmrrecon.training.plan import Plan
    from cmrrecon.training.recipe import Recipe
    from cmrrecon.training.state import Run

EXAMPLE = examples(
    "cmrrecon train --recipe genre-cmr --data store --out-dir runs/genre",
    "cmrrecon train -r genre-cmr --data store --out-dir runs/a --set losses.ear.weight=0",
    "cmrrecon train -r kt-unrolled --out-dir runs/kt --dry-run",
)


def _list_recipes(asked: bool) -> None:
    if asked:
        from cmrrecon.training import recipe

        for name in recipe.names():
            print(f"{name}\t{recipe.load(name).paper}")
        raise typer.Exit


def train(
    recipe: Annotated[
        str | None,
        options.option(
            "--recipe",
            "-r",
            help="Name of a recipe, or a .toml file; see --list-recipes.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        options.option(
            "--data",
            help="The store that `preprocess` made, or a folder of fully sampled files.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.option("--out", help="Folder of the run; a run in it goes on.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        options.option(
            "--set", help="Change the recipe, e.g. --set losses.sda.weight=0.", show_default=False
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        options.option(
            "--hold-out",
            help="Neither train nor choose by these scans, and score them apart, e.g. vendor=Siemens.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        options.option(
            "--only", help="Use these scans only, e.g. base=cine_sax.", show_default=False
        ),
    ] = None,
    list_recipes: Annotated[
        bool,
        typer.Option(
            "--list-recipes",
            callback=_list_recipes,
            is_eager=True,
            help="List the recipes, and stop.",
        ),
    ] = False,
    print_config: Annotated[
        bool, options.option("--print-config", help="Print the whole recipe as JSON, and stop.")
    ] = False,
    checkpointing: Annotated[
        bool | None,
        options.option(
            "--checkpointing/--no-checkpointing",
            help="Less memory for about a third more time.",
            show_default="if memory is short",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        options.option(
            "--workers",
            help="Threads that make the next windows ready.",
            min=1,
            show_default="by the processors",
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        options.option("--tensorboard", help="Write events for TensorBoard into the run's folder."),
    ] = False,
    max_steps: Annotated[
        int | None,
        options.option("--max-steps", help="Stop after so many steps in all.", show_default=False),
    ] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network by a recipe; started again with the same folder, it goes on exactly where it stopped.

    The folder gets last.pt (to go on), best.safetensors (for `reconstruct --checkpoint`), log.jsonl, pictures and run.json. How many
    windows make a batch, and whether memory must be saved, is planned from the scans and the device. On Ctrl-C, SIGTERM and SIGUSR1 the
    state is saved and the run ends.
    """
    console = Console(quiet=quiet, as_json=json)
    with running.command(console), ExitStack() as processes:
        from cmrrecon.tools.devices import choose_device
        from cmrrecon.training import recipe as recipes
        from cmrrecon.training.checks import check
        from cmrrecon.training.distributed import group_of_processes
        from cmrrecon.training.identity import agreed_plan, only_run

        recipe = _named(recipe)
        chosen = check(recipes.load(recipe, set_ or []))
        if print_config:
            print_recipe(chosen)
            return
        out = _checked_options(recipe, chosen, data, out, max_steps, named=bool(hold_out or only))
        group, own_device = processes.enter_context(group_of_processes(device))
        where = choose_device(own_device)
        console = (
            console if group.rank == 0 else Console(quiet=True, as_json=False, stdout_is_data=True)
        )
        if group.rank == 0:
            processes.enter_context(only_run(out))
        scans = _scans(data, out, chosen, hold_out or [], only or [], console, group)
        plan = agreed_plan(
            out, chosen, *scans, where, group, checkpointing=checkpointing, workers=workers
        )
        tell_start(recipe, chosen, scans, where, console)
        tell_plan(plan, chosen, group, console)
        run = _run(chosen, data, scans, out, where, plan, group, console, max_steps, tensorboard)
        if group.rank == 0:
            report(recipe, run, out, max_steps, console)


def _run(
    recipe: "Recipe",
    data: Path | None,
    scans: "Scans",
    out: Path,
    device: "torch.device",
    plan: "Plan",
    group: "Group",
    console: Console,
    max_steps: int | None,
    tensorboard: bool,
) -> "Run":
    """Train to the end or until asked to stop, with a progress bar, and tell the pace."""
    from cmrrecon.training.loop import Hooks, train

    with _asked_to_stop() as stopped, console.progress(str(out), 0, "step") as bar:
        pace = Pace(bar, group.size)
        hooks = Hooks(console.say, bar.expect, pace.on_step, lambda: bool(stopped))
        run = train(
            recipe, data, *scans, out, device, plan, hooks, group,
            most_steps=max_steps, tensorboard=tensorboard,
        )  # fmt: skip
    if group.rank == 0:
        pace.tell(console)
    return run


def _named(recipe: str | None) -> str:
    """The recipe that was named; UsageError if none was."""
    from cmrrecon.training import recipe as recipes

    if recipe is None:
        raise UsageError(
            "option-missing",
            "No recipe was named",
            f"The recipes are: {', '.join(recipes.names())}",
            "Give one with --recipe",
        )
    return recipe


def _checked_options(
    recipe: str,
    chosen: "Recipe",
    data: Path | None,
    out: Path | None,
    max_steps: int | None,
    *,
    named: bool,
) -> Path:
    """The folder of the run; UsageError where options do not fit together. `named` is whether scans of a store were named."""
    if chosen.data.scenes and named:
        raise UsageError(
            "options-conflict",
            "--hold-out or --only was given with random scans",
            "They name scans of a store",
            "Leave them out",
        )
    if chosen.data.scenes and data is not None:
        raise UsageError(
            "options-conflict",
            f"--data was given, but {recipe} learns from random scans (data.scenes = {chosen.data.scenes})",
            "It learns from one or the other",
            "Leave --data out, or add --set data.scenes=0",
        )
    if out is None or (data is None and not chosen.data.scenes):
        raise UsageError(
            "option-missing",
            "--data and --out were not both given",
            "Training needs scans and a folder for the run",
            "Give both",
        )
    if max_steps is not None and max_steps < 1:
        raise UsageError(
            "option-value",
            f"--max-steps was given {max_steps}",
            "It must be at least 1",
            "Leave it out to train to the end",
        )
    return out


class Scans(NamedTuple):
    """Entries of the scans that are trained on, validated with, and held out."""

    training: "Sequence[Entry]" = ()
    validation: "Sequence[Entry]" = ()
    unseen: "Sequence[Entry]" = ()


def _scans(
    data: Path | None,
    out: Path,
    recipe: "Recipe",
    hold_out: Sequence[str],
    only: Sequence[str],
    console: Console,
    group: "Group",
) -> Scans:
    """The scans of the data; none for a recipe that learns from random scans."""
    if data is None:
        return Scans()
    return _shared_out(_entries(data, out, console, group), recipe, hold_out, only)


def _entries(data: Path, out: Path, console: Console, group: "Group") -> "list[dict[str, Any]]":
    """Of the scans of a store, or of files as they were measured, which the first process looks through once."""
    from cmrrecon import formats
    from cmrrecon.training.entries import index_scans, read_entries
    from cmrrecon.training.store import FINGERPRINT

    if (data / FINGERPRINT).is_file():
        return read_entries(data)
    files = [job.path for job in inputs.find_jobs([str(data)], formats.is_scan)]
    cache = out / "index.json"
    if group.rank == 0:
        console.say(
            f"{data} is no store of `cmrrecon preprocess`: its {len(files)} files are looked through once, and read as they are"
        )
        with console.progress(str(data), len(files), "file") as bar:
            index_scans(data, files, cache, bar.advance, console.warn)
    group.gather(None)
    return index_scans(data, files, cache, lambda: None, lambda text: None)


def _shared_out(
    entries: "Sequence[Entry]", recipe: "Recipe", hold_out: Sequence[str], only: Sequence[str]
) -> Scans:
    """What is trained on, what is validated with, and what is held out."""
    from cmrrecon.formats.names import fits, values_of
    from cmrrecon.training.entries import split

    wanted = [
        entry for entry in entries if not only or any(fits(entry, text, "--only") for text in only)
    ]
    unseen = [
        entry for entry in wanted if any(fits(entry, text, "--hold-out") for text in hold_out)
    ]
    if hold_out and not unseen:
        raise UsageError(
            "scan-missing",
            f"--hold-out {' '.join(hold_out)} fits no scan",
            f"It names what is not trained on; {values_of(wanted, hold_out)}",
            "Name one of these",
        )
    seen = [entry for entry in wanted if entry not in unseen]
    training, validation = split(seen, recipe.data.validation, recipe.schedule.seed)
    if not training:
        raise UsageError(
            "scan-missing",
            "No scan is left to train on",
            "At least one is needed",
            "Change --only, --hold-out or the store",
        )
    return Scans(training, validation, unseen)


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM, SIGUSR1 or Ctrl-C has come; a second Ctrl-C ends the program at once."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT and came:
            raise KeyboardInterrupt
        came.append(number)

    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
