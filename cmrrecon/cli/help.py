"""Format the examples of help texts so that they can be copied line by line."""

# Help is 80 columns wide by default; Click indents the examples by four.
WIDTH = 76
CONTINUED = " \\"


def examples(*lines: str) -> str:
    """Return the epilog of a command with one example per line.

    Parameters
    ----------
    lines : str
        Commands, each optionally followed by two spaces, `#` and an explanation. A line that is
        too long for 80 columns is continued with a backslash, as in a shell.

    Returns
    -------
    str
        The text for the `epilog` argument of Typer.
    """
    rows = [f"  {row}" for line in lines for row in _continued(line)]
    # After this mark the help formatter keeps the line breaks of the paragraph.
    return "\n".join(("\b", "Examples:", *rows))


def _continued(line: str) -> list[str]:
    """Split a command into rows that fit the width."""
    rows: list[str] = []
    while len(line) > WIDTH:
        end = line.rfind(" ", 0, WIDTH - len(CONTINUED))
        if end <= 0:
            break
        rows.append(line[:end].rstrip() + CONTINUED)
        line = line[end:].strip()

    return [*rows, line]
