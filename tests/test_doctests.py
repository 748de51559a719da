"""Run the examples in public docstrings and on the pages of the site, and check their output."""

import ast
import doctest
import re
import sys
from pathlib import Path

import pytest

import cmrrecon

ROOT = Path(__file__).parents[1]
FUNCTIONS = ("evaluate", "read", "reconstruct", "simulate", "undersample", "write")
PUBLIC = sorted(set(cmrrecon.__all__) - {"__version__"})
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
FENCE = re.compile(r"^```(\{doctest\}|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, kind: str) -> list[tuple[int, str]]:
    """Find the fenced blocks of a kind, each with the number of its first line."""
    text = page.read_text()
    found = [match for match in FENCE.finditer(text) if match[1] == kind]
    return [(text.count("\n", 0, match.start(2)), match[2]) for match in found]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def failures(test: doctest.DocTest) -> int:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    return doctest.DocTestRunner(optionflags=flags).run(test, clear_globs=False).failed


WITH_EXAMPLES = [page for page in PAGES if blocks(page, "{doctest}")]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=named)
def test_examples_on_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    names: dict[str, object] = {}
    for line, text in blocks(page, "{doctest}"):
        test = doctest.DocTestParser().get_doctest(text, names, named(page), str(page), line)
        assert test.examples
        assert not failures(test)
        names.update(test.globs)


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_in_public_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(cmrrecon, name)
    module = sys.modules[public.__module__]
    for test in doctest.DocTestFinder().find(public, name, module=module, globs=vars(module)):
        assert not failures(test)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example_that_calls_it(name):
    page = ROOT / "docs" / "api" / f"{name}.md"
    code = "".join(
        example.source
        for _, text in blocks(page, "{doctest}")
        for example in doctest.DocTestParser().get_examples(text)
    )
    assert f"cmrrecon.{name}(" in code


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_python_on_pages_names_what_exists(page):
    for _, text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                known = node.value.id != "cmrrecon" or node.attr in dir(cmrrecon)
                assert known or (ROOT / "cmrrecon" / node.attr).is_dir(), node.attr
