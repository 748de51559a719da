"""Check the style of the sources: docstrings that tools can parse, blank lines, plain words."""

import ast
import re
from pathlib import Path

import pytest

import cmrrecon

ROOT = Path(cmrrecon.__file__).parents[1]
SOURCES = sorted((ROOT / "cmrrecon").rglob("*.py"))
SECTIONS = (
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "See Also",
    "Notes",
    "References",
    "Examples",
)
WITH_ENTRIES = SECTIONS[:6]
# A longer function body needs blank lines between its steps.
LONG = 15
# Words that readers stumbled over, each with words to use instead.
INVENTED = {
    r"\bTalk\b|\btalk\b": "console, messages",
    r"\bBench\b": "benchmark",
    r"\bTaken\b": "Measurement, or what it is",
    r"\bliveliest\b": "largest change over time",
    r"\bperhaps\b": "suggestion, candidates",
    r"\btold\b|\btells\b": "reported, warned, listed, printed",
    r"\btaken\b": "used, chosen, applied, measured",
    r"\bsooner\b": "faster, earlier",
    r"\bone at most\b": "at most one",
    r"\bso many\b": "the given number of",
    r"\bhas got\b|\bhas not got\b": "has, lacks",
}


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def documented(tree: ast.Module) -> list[tuple[str, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    texts = [(getattr(node, "name", "module"), ast.get_docstring(node)) for node in nodes]
    return [(name, text) for name, text in texts if text]


def faults_of(text: str) -> list[str]:
    """List the faults that numpydoc would misread in a docstring."""
    found, lines = [], text.split("\n")
    heads = [i for i, line in enumerate(lines[:-1]) if re.fullmatch(r"-{3,}", lines[i + 1].strip())]
    for number, i in enumerate(heads):
        title = lines[i].strip()
        if title not in SECTIONS:
            found.append(f"section {title!r} is unknown to numpydoc")
        if len(lines[i + 1]) != len(lines[i]):
            found.append(f"the underline of {title} has a different length")
        if i and lines[i - 1].strip():
            found.append(f"no blank line before {title}")
        end = heads[number + 1] if number + 1 < len(heads) else len(lines)
        body = list(lines[i + 2 : end])
        while body and not body[-1].strip():
            body.pop()
        if title in WITH_ENTRIES:
            found += entry_faults(title, body)
    return found


def entry_faults(title: str, body: list[str]) -> list[str]:
    """List entries that are not `name : type` (or the type alone) with an indented description."""
    found = []
    entries = [i for i, line in enumerate(body) if line and not line.startswith(" ")]
    if not entries:
        found.append(f"{title} has no entry")
    for i in entries:
        entry = body[i]
        if title in ("Parameters", "Attributes") and " : " not in entry:
            found.append(f"{title}: {entry!r} is not `name : type`")
        if title in ("Raises", "Warns") and not re.fullmatch(r"[A-Za-z.]+", entry):
            found.append(f"{title}: {entry!r} is not just the name of an exception")
        if i + 1 >= len(body) or not body[i + 1].startswith("    "):
            found.append(f"{title}: {entry!r} has no indented description below it")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=where)
def test_docstrings_have_sections_that_numpydoc_reads(path):
    texts = documented(ast.parse(path.read_text()))
    assert not [f"{name}: {fault}" for name, text in texts for fault in faults_of(text)]


@pytest.mark.parametrize("path", SOURCES, ids=where)
def test_first_line_of_a_docstring_is_a_short_sentence(path):
    texts = documented(ast.parse(path.read_text()))
    first = [(name, text.split("\n\n")[0]) for name, text in texts]
    assert not [name for name, line in first if "\n" in line or not line.endswith((".", "?"))]


@pytest.mark.parametrize("path", SOURCES, ids=where)
def test_long_functions_have_blank_lines_between_their_steps(path):
    lines = path.read_text().split("\n")
    dense = []
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            start = node.body[ast.get_docstring(node) is not None :]
            if start and node.end_lineno - start[0].lineno + 1 > LONG:
                body = lines[start[0].lineno - 1 : node.end_lineno]
                dense += [] if any(not line.strip() for line in body) else [node.name]
    assert not dense


@pytest.mark.parametrize("path", SOURCES, ids=where)
def test_sources_use_plain_words(path):
    text = path.read_text()
    found = {word: instead for word, instead in INVENTED.items() if re.search(word, text)}
    assert not found


def test_faults_are_found():
    good = (
        "Purpose.\n\nParameters\n----------\nx : Tensor\n    Images.\n\n"
        "Raises\n------\nInputError\n    Bad."
    )
    assert not faults_of(good)
    assert faults_of(good.replace("x : Tensor\n    Images.", "x : images"))
    assert faults_of(good.replace("InputError\n    Bad.", "InputError : bad"))
    assert faults_of(good.replace("Raises\n------", "Raises\n-----"))
    assert faults_of("Purpose.\n\nSource\n------\nA paper.")
