"""The error codes: sources and docs/error-codes.md list the same, with the same exit codes."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import cmrrecon
from cmrrecon.tools import errors

PACKAGE = Path(cmrrecon.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "error-codes.md"
ROW = re.compile(r"\| `([^`]+)` \| ([^|]+) \|(.+)\|")
CLASSES = {
    name: f"{kind.exit_code} {kind.kind}"
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.CmrreconError)
}


def calls_of(path):
    """All calls in a file, each with the name and parameters of the enclosing function."""

    def walk(node, function, parameters):
        if isinstance(node, ast.FunctionDef):
            function = node.name
            parameters = [p.arg for p in node.args.args if p.arg not in ("self", "cls")]
        if isinstance(node, ast.Call):
            yield node, function, parameters
        for child in ast.iter_child_nodes(node):
            yield from walk(child, function, parameters)

    return list(walk(ast.parse(path.read_text()), "", []))


def called(call):
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def choices(value):
    """The values that an expression chooses from."""
    return choices(value.body) + choices(value.orelse) if isinstance(value, ast.IfExp) else [value]


def codes_in(path):
    """Map each code to the exit codes and kinds that a file raises it with.

    A code is the first argument of an error class, or of a function in the file that passes it on.
    """
    calls = calls_of(path)
    takers = {(name, 0, ending) for name, ending in CLASSES.items()}
    codes = defaultdict(set)
    while takers:
        passing = set()
        for name, place, ending in takers:
            for call, function, parameters in calls:
                if called(call) != name:
                    continue
                for value in choices(call.args[place]):
                    if isinstance(value, ast.Name) and value.id in parameters:
                        # Calls of it are sought in this file alone.
                        assert function.startswith("_"), f"{path.name}: {function} is not private"
                        passing.add((function, parameters.index(value.id), ending))
                    else:
                        assert isinstance(value, ast.Constant), f"{path.name}:{value.lineno}"
                        codes[value.value].add(ending)
        takers = passing
    return codes


def in_sources():
    codes = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for code, endings in codes_in(path).items():
            codes[code] |= endings
    return codes


def on_page():
    return {row[1]: set(row[2].split(", ")) for row in ROW.finditer(PAGE.read_text())}


def test_helpers_that_pass_a_code_on_are_seen_through(tmp_path):
    source = tmp_path / "source.py"
    source.write_text(
        "def _fail(code, path): return InputError(code, path, '', '')\n"
        "def _refuse(path, code): raise _fail(code, path)\n"
        "_refuse('a', 'axes-unknown')\n"
        "raise _fail('file-empty' if empty == 'x' else 'file-damaged', 'b')\n"
        "raise UsageError('axes-unknown', '', '', '')\n"
    )
    assert codes_in(source) == {
        "axes-unknown": {"2 usage", "3 input"},
        "file-empty": {"3 input"},
        "file-damaged": {"3 input"},
    }


def test_codes_are_kebab_case():
    for code in in_sources():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+){0,3}", code), code
        assert "todo" not in code


def test_the_page_names_every_code_and_how_it_ends():
    assert on_page() == in_sources()


def test_the_page_is_sorted_and_says_what_to_do():
    rows = ROW.findall(PAGE.read_text())
    codes = [code for code, _, _ in rows]
    assert codes == sorted(set(codes))
    for code, _, rest in rows:
        assert [bool(cell.strip()) for cell in rest.split("|")] == [True, True], code
