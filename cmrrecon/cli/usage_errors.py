"""Mistakes in the words of a command line, as errors with a code and three sentences."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from cmrrecon.cli import running
from cmrrecon.cli.console import Console
from cmrrecon.tools.errors import UsageError, nearest, suggestion

# The base class of the parser's errors. Typer has it from Click or from a private copy of Click,
# depending on its version.
ParserError: type[Any] = typer.BadParameter.__mro__[1]
# Where a context keeps the words of the command line.
WORDS = "cmrrecon.words"
TRUE = ("1", "true", "t", "yes", "y", "on")


class Commands(TyperGroup):
    """A group of commands that reports unknown names and bad values like every other error."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Parse the options before the name of a command."""
        words = list(args)
        with reported(words, str(info_name)):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta.setdefault(WORDS, words)
        return context

    def invoke(self, ctx: Any) -> Any:
        """Parse the words from the name of a command on, and run it."""
        name = next(iter((*ctx._protected_args, *ctx.args)), "")
        with reported(ctx.meta[WORDS], f"{ctx.command_path} {name}".strip()):
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name."""
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            raise UsageError(
                "unknown-command",
                f"There is no command {args[0]!r:.80}",
                f"The commands of {ctx.command_path} are: {', '.join(names)}",
                suggestion(args[0], names, f"See {ctx.command_path} --help"),
            )
        return super().resolve_command(ctx, args)


@contextmanager
def reported(words: Sequence[str], command: str) -> Iterator[None]:
    """Report a mistake on stderr, with --json on stdout too, and exit with its code."""
    try:
        yield
    except UsageError as error:
        _report(error, words)
    except ParserError as mistake:
        # Without any words the help is the message.
        if type(mistake).__name__ == "NoArgsIsHelpError":
            raise
        _report(usage_error(mistake, command), words)


def _report(error: UsageError, words: Sequence[str]) -> None:
    as_json = "--json" in words or os.environ.get("CMRRECON_JSON", "").lower() in TRUE
    console = Console(as_json=as_json)
    console.error(error)
    console.result(running.failure_record("", error), None)
    raise typer.Exit(error.exit_code)


def usage_error(mistake: Any, command: str) -> UsageError:
    """The error for a mistake that the parser found in the words of a command."""
    kind, parameter = type(mistake).__name__, getattr(mistake, "param", None)
    see = f"See {command} --help"

    if kind == "NoSuchOption":
        return _unknown_option(mistake, command, see)
    if kind == "MissingParameter" and parameter is not None:
        return _missing(parameter, command)
    if kind == "BadParameter" and parameter is not None:
        flags = "/".join(parameter.opts)
        return UsageError(
            "option-value",
            f"{flags} cannot have this value: {_sentence(mistake.message)}",
            f"{flags} stands for: {_sentence(parameter.help or parameter.name)}",
            see,
        )

    if kind == "BadOptionUsage":
        return UsageError(
            "option-value", mistake.format_message(), "Flags have no value, other options one", see
        )
    return UsageError(
        "argument-unexpected",
        mistake.format_message(),
        mistake.ctx.get_usage() if mistake.ctx else "The command takes fewer words",
        "Leave them out, and quote names that contain spaces",
    )


def _unknown_option(mistake: Any, command: str, otherwise: str) -> UsageError:
    name = mistake.option_name
    parameters = mistake.ctx.command.get_params(mistake.ctx) if mistake.ctx else ()
    flags = [flag for one in parameters for flag in (*one.opts, *one.secondary_opts)]
    long = [flag.removeprefix("--") for flag in flags if flag.startswith("--")]
    near = nearest(name.removeprefix("--"), long) if name.startswith("--") else ""

    return UsageError(
        "unknown-option",
        f"{command} has no option {name!r:.80}",
        f"Its options are listed by {command} --help",
        f"Use --{near} if that was meant" if near else otherwise,
    )


def _missing(parameter: Any, command: str) -> UsageError:
    what = f"What is missing: {_sentence(parameter.help or parameter.name)}"
    see = f"as in the examples of {command} --help"

    if parameter.param_type_name == "argument":
        found = f"{command} got no {parameter.name}"
        return UsageError("argument-missing", found, what, f"Add it, {see}")
    flag = max(parameter.opts, key=len)
    found = f"{command} got no {flag}"
    return UsageError("option-missing", found, what, f"Add {flag}, {see}")


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
