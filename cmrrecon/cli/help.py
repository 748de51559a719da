"""Help texts: examples that can be copied line by line."""


def examples(*lines: str) -> str:
    """The epilog of a command: its examples, each on a line of its own."""
    # After this mark the help formatter keeps the line breaks of a paragraph.
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
