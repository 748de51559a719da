"""Assemble the program from its subcommands.

Each subcommand imports what it needs when it runs, so that --help is fast.
"""

import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from cmrrecon import __version__
from cmrrecon.cli import (
    compare,
    doctor,
    evaluate,
    fit,
    info,
    models,
    preprocess,
    readers,
    reconstruct,
    report,
    simulate,
    submit,
    train,
    undersample,
)
from cmrrecon.cli.usage_errors import Commands

# Signals of schedulers and terminals that end a command.
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

app = typer.Typer(
    name="cmrrecon",
    cls=Commands,
    help="Reconstruct undersampled cardiac MRI k-space. Research use only, not for diagnosis.",
    epilog="Exit codes: 0 done; 1 some inputs failed or an output could not be written; 2 usage; "
    "3 unreadable input; 4 out of memory; 5 numerical failure; 130 interrupted. Every option can "
    "also be set with an environment variable, such as CMRRECON_DEVICE for --device.",
    no_args_is_help=True,
    # Plain text never truncates option names in a narrow terminal, and examples can be copied.
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"cmrrecon {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Reconstruct undersampled cardiac MRI k-space. Research use only, not for diagnosis."""


# Each short text fits on one line of the command list at 80 columns.
app.command("info", epilog=info.EXAMPLE, short_help="Show what files contain.")(info.info)
app.command("simulate", epilog=simulate.EXAMPLE, short_help="Simulate scans with a known truth.")(
    simulate.simulate
)
app.command(
    "undersample", epilog=undersample.EXAMPLE, short_help="Undersample fully sampled k-space."
)(undersample.undersample)
app.command(
    "reconstruct", epilog=reconstruct.EXAMPLE, short_help="Reconstruct images from k-space files."
)(reconstruct.reconstruct)
app.command(
    "evaluate", epilog=evaluate.EXAMPLE, short_help="Score reconstructions against references."
)(evaluate.evaluate)
app.command("fit", epilog=fit.EXAMPLE, short_help="Fit T1, T2 or T2* to a mapping series.")(fit.fit)
app.command(
    "compare", epilog=compare.EXAMPLE, short_help="Compare methods on one slice in a figure."
)(compare.compare)
app.add_typer(
    readers.app,
    name="readers",
    epilog=readers.EXAMPLE,
    short_help="Make a blinded reading page; analyse the readers' answers.",
)
app.command(
    "report", epilog=report.EXAMPLE, short_help="Write an HTML page about reconstructions."
)(report.report)
app.command(
    "submit", epilog=submit.EXAMPLE, short_help="Make the package for a CMRxRecon challenge."
)(submit.submit)
app.command(
    "preprocess", epilog=preprocess.EXAMPLE, short_help="Pack scans into a training store."
)(preprocess.preprocess)
app.command(
    "train", epilog=train.EXAMPLE, short_help="Train a network with a recipe, or continue a run."
)(train.train)
app.add_typer(
    models.app,
    name="models",
    epilog=models.EXAMPLE,
    short_help="List networks and weights; show or convert checkpoints.",
)
app.command("doctor", epilog=doctor.EXAMPLE, short_help="Check the installation.")(doctor.doctor)


def _terminate(signum: int, frame: FrameType | None) -> None:
    # A second signal must not disturb the removal of temporary files.
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Run the program.

    SIGTERM, SIGHUP and SIGUSR1 end it like Ctrl-C, so that temporary files are removed; `nohup`
    keeps its meaning. Waiting threads release their
    core unless the environment says otherwise, because spinning is expensive on shared machines.
    OpenMP reads this setting when torch is loaded. Characters of file names that the terminal's
    encoding cannot show are printed as escape sequences.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="cmrrecon")
