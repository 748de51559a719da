"""Examples below the help of a command: one a line, whole words, ready to copy."""

# Help is 80 columns wide where nothing else is known, with a margin of one on each side.
WIDTH = 78
CONTINUED = " \\"


def examples(*lines: str) -> str:
    """The examples of a command, for the `epilog` of Typer.

    A line that is too long for a terminal of 80 columns is continued as a shell continues it, with
    a backslash at its end.

    Parameters
    ----------
    lines : str
        Commands; what explains one follows it after two spaces and `#`.

    Returns
    -------
    str
        Text in which every example is a paragraph of its own.
    """
    paragraphs = ["Examples:", *("\n".join(_continued(line)) for line in lines)]
    # Square brackets are markup to Rich.
    return "\n\n".join(paragraph.replace("[", r"\[") for paragraph in paragraphs)


def _continued(line: str) -> list[str]:
    """A command in rows that fit."""
    rows: list[str] = []
    while len(line) > WIDTH:
        end = line.rfind(" ", 0, WIDTH - len(CONTINUED))
        if end <= 0:
            break
        rows.append(line[:end].rstrip() + CONTINUED)
        line = line[end:].strip()
    return [*rows, line]
