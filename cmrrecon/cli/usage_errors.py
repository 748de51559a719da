"""Report mistakes in the command line as errors with a code and three sentences."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from cmrrecon.cli import running
from cmrrecon.cli.console import Console
from cmrrecon.tools.errors import UsageError, nearest, suggestion

# The base class of the parser's errors. Depending on its version, Typer imports it from Click or
# from a private copy of Click.
ParserError: type[Any] = typer.BadParameter.__mro__[1]
# Key under which a context stores the words of the command line.
WORDS = "cmrrecon.words"
TRUE = ("1", "true", "t", "yes", "y", "on")


class Commands(TyperGroup):
    """A group of commands that reports unknown names and bad values like all other errors."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Parse the options before the name of a command."""
        words = list(args)
        with report_mistakes(words, str(info_name)):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta.setdefault(WORDS, words)
        return context

    def invoke(self, ctx: Any) -> Any:
        """Parse the name of a command and the words after it, and run the command."""
        name = next(iter((*ctx._protected_args, *ctx.args)), "")
        with report_mistakes(ctx.meta[WORDS], f"{ctx.command_path} {name}".strip()):
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
def report_mistakes(words: Sequence[str], command: str) -> Iterator[None]:
    """Report a mistake on stderr, and with --json also on stdout, then exit with its code."""
    try:
        yield
    except UsageError as error:
        _report(error, words)
    except ParserError as mistake:
        # Without arguments the help text is the message.
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
    """Return the error for a mistake that the parser found in the words of a command."""
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
            f"The value of {flags} is invalid: {_sentence(mistake.message)}",
            f"{flags} means: {_sentence(parameter.help or parameter.name)}",
            see,
        )

    if kind == "BadOptionUsage":
        return UsageError(
            "option-value",
            mistake.format_message(),
            "A flag takes no value; every other option needs one",
            see,
        )
    return UsageError(
        "argument-unexpected",
        mistake.format_message(),
        mistake.ctx.get_usage() if mistake.ctx else "The command accepts fewer arguments",
        "Remove the extra arguments, and quote names that contain spaces",
    )


def _unknown_option(mistake: Any, command: str, default: str) -> UsageError:
    name = mistake.option_name
    parameters = mistake.ctx.command.get_params(mistake.ctx) if mistake.ctx else ()
    flags = [flag for one in parameters for flag in (*one.opts, *one.secondary_opts)]
    long = [flag.removeprefix("--") for flag in flags if flag.startswith("--")]
    near = nearest(name.removeprefix("--"), long) if name.startswith("--") else ""

    return UsageError(
        "unknown-option",
        f"{command} has no option {name!r:.80}",
        f"{command} --help lists the options",
        f"You may have meant --{near}" if near else default,
    )


def _missing(parameter: Any, command: str) -> UsageError:
    what = f"Missing: {_sentence(parameter.help or parameter.name)}"
    see = f"as in the examples of {command} --help"

    if parameter.param_type_name == "argument":
        found = f"{command} needs the argument {parameter.name}"
        return UsageError("argument-missing", found, what, f"Add it, {see}")
    flag = max(parameter.opts, key=len)
    found = f"{command} needs the option {flag}"
    return UsageError("option-missing", found, what, f"Add {flag}, {see}")


def _sentence(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
