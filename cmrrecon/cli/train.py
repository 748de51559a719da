"""`cmrrecon train`: a network by a recipe, on a store of `preprocess`."""

import json as json_text
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cmrrecon.cli import options, running
from cmrrecon.cli.console import Talk
from cmrrecon.errors import UsageError

EXAMPLE = (
    "Examples: cmrrecon train --recipe genre-cmr --data store --out runs/genre; "
    "without its edge loss: cmrrecon train -r genre-cmr --data store --out runs/no-ear --set losses.ear.weight=0"
)


def _list_recipes(asked: bool) -> None:
    if asked:
        from cmrrecon.training import recipe

        for name in recipe.names():
            print(f"{name}\t{recipe.load(name).paper}")
        raise typer.Exit


def train(
    recipe: Annotated[
        str | None, options.option("--recipe", "-r", help="Name of a recipe, or a .toml file; see --list-recipes.", show_default=False)
    ] = None,
    data: Annotated[Path | None, options.option("--data", help="The store that `preprocess` made.", show_default=False)] = None,
    out: Annotated[Path | None, options.option("--out", help="Folder of the run; a run in it goes on.", show_default=False)] = None,
    set_: Annotated[
        list[str] | None, options.option("--set", help="Change the recipe, e.g. --set losses.sda.weight=0.", show_default=False)
    ] = None,
    hold_out: Annotated[
        list[str] | None, options.option("--hold-out", help="Validate on these scans only, e.g. vendor=Siemens.", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None, options.option("--only", help="Use these scans only, e.g. base=cine_sax.", show_default=False)
    ] = None,
    list_recipes: Annotated[
        bool, typer.Option("--list-recipes", callback=_list_recipes, is_eager=True, help="List the recipes, and stop.")
    ] = False,
    print_config: Annotated[bool, options.option("--print-config", help="Print the whole recipe as JSON, and stop.")] = False,
    checkpointing: Annotated[bool, options.option("--checkpointing", help="Less memory for about a third more time.")] = False,
    max_steps: Annotated[int | None, options.option("--max-steps", help="Stop after so many steps in all.", show_default=False)] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network by a recipe; started again with the same folder, it goes on exactly where it stopped.

    The folder gets last.pt (to go on), best.safetensors (for `reconstruct --checkpoint`), log.jsonl and recipe.json. On Ctrl-C,
    SIGTERM and SIGUSR1 the state is saved and the run ends.
    """
    talk = Talk(quiet=quiet, as_json=json)
    with running.command(talk), ExitStack() as processes:
        from cmrrecon import provenance
        from cmrrecon.reconstruct.run import choose_device
        from cmrrecon.training import recipe as recipes
        from cmrrecon.training.dataset import read_entries, split
        from cmrrecon.training.distributed import group_of_processes
        from cmrrecon.training.loop import BEST, LAST, Hooks, train, write_recipe

        if recipe is None:
            raise UsageError("No recipe was named", f"The recipes are: {', '.join(recipes.names())}", "Give one with --recipe")
        chosen = recipes.load(recipe, set_ or [])
        if print_config:
            print(json_text.dumps(provenance.plain(chosen.as_dict()), indent=1))
            return
        if data is None or out is None:
            raise UsageError("--data and --out were not both given", "Training needs a store and a folder for the run", "Give both")
        group, own_device = processes.enter_context(group_of_processes(device))
        where = choose_device(own_device)
        talk = talk if group.rank == 0 else Talk(quiet=True, as_json=False, stdout_is_data=True)
        entries = [entry for entry in read_entries(data) if not only or any(_fits(entry, text, "--only") for text in only)]
        if hold_out:
            held = [entry for entry in entries if any(_fits(entry, text, "--hold-out") for text in hold_out)]
            if not held:
                raise UsageError("--hold-out fits no scan", "It names what is validated with", "Check it against `cmrrecon info STORE`")
            training: Sequence[Mapping[str, Any]] = [entry for entry in entries if entry not in held]
            validation: Sequence[Mapping[str, Any]] = held
        else:
            training, validation = split(entries, chosen.data.validation, chosen.schedule.seed)
        if max_steps is not None and max_steps < 1:
            raise UsageError(f"--max-steps was given {max_steps}", "It must be at least 1", "Leave it out to train to the end")
        if not training:
            raise UsageError("No scan is left to train on", "At least one is needed", "Change --only, --hold-out or the store")
        _check_same(out, chosen)
        if group.rank == 0:
            write_recipe(out, chosen)
        talk.say(f"{recipe}: {chosen.network['name']} on {where}; {len(training)} scans to train on, {len(validation)} to validate with")
        if not validation:
            talk.warn("no scan to validate with: best.safetensors will hold the weights of the last epoch")
        windows = chosen.schedule.batch * chosen.optimiser.accumulate * group.size
        talk.say(f"{windows} windows make a step ({group.size} processes)" if group.size > 1 else f"{windows} windows make a step")
        with _asked_to_stop() as stopped, talk.progress(str(out), chosen.schedule.epochs, "epoch") as bar:

            def on_step(record: Mapping[str, Any]) -> None:
                if "validation" in record:
                    bar.advance()

            run = train(
                chosen, data, training, validation, out, where, Hooks(talk.say, on_step, lambda: bool(stopped)), group,
                checkpointing=checkpointing, most_steps=max_steps,
            )  # fmt: skip
        finished = run.epoch >= chosen.schedule.epochs
        if group.rank > 0:
            return
        record: dict[str, Any] = {"status": "done" if finished else "stopped", "recipe": recipe, "steps": run.step, "epochs": run.epoch}
        record |= {"last": str(out / LAST), "weights": str(out / BEST) if (out / BEST).exists() else None}
        if not finished:
            talk.say(f"stopped after step {run.step}: the same command goes on from there")
        talk.result(record, str(record["weights"] or record["last"]))


def _fits(entry: Mapping[str, Any], text: str, option: str) -> bool:
    key, equals, value = text.partition("=")
    if not equals or key not in entry:
        facts = ", ".join(sorted(key for key, value in entry.items() if isinstance(value, str)))
        raise UsageError(
            f"{option} was given {text!r}", f"It wants fact=value; scans have the facts {facts}", "Write for example vendor=Siemens"
        )
    return str(entry[key]) == value


def _check_same(out: Path, chosen: Any) -> None:
    """Refuse to go on with another recipe than the folder's."""
    from cmrrecon import provenance
    from cmrrecon.training.loop import LAST, RECIPE

    if not (out / LAST).exists() or not (out / RECIPE).exists():
        return
    known = json_text.loads((out / RECIPE).read_text())
    known.pop("cmrrecon", None)
    asked = json_text.loads(json_text.dumps(provenance.plain(chosen.as_dict())))
    longer = {**asked, "schedule": {**asked["schedule"], "epochs": known["schedule"]["epochs"]}}
    if longer != known:
        raise UsageError(
            f"{out} holds a run of another recipe",
            "A run goes on with its own recipe; only schedule.epochs may change",
            "Give another --out",
        )


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that is no longer empty once SIGTERM, SIGUSR1 or Ctrl-C has come; a second Ctrl-C ends the program at once."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if number == signal.SIGINT and came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
