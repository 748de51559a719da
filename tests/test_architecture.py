"""The floor plan of docs/architecture.md, enforced.

Imports run one way, only the command line prints, and help loads nothing heavy.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cmrrecon

PACKAGE = Path(cmrrecon.__file__).parent
EXAMPLES = Path(__file__).parents[1] / "examples"
ROOMS = [
    {"cli"},
    {"pages"},
    {"training"},
    {"reconstruction"},
    {"methods"},
    {"evaluation"},
    {"simulation"},
    {"sampling"},
    {"formats"},
    {"losses"},
    {"metrics"},
    {"networks"},
    {"classical"},
    {"solvers"},
    {"operators"},
    {"data"},
    {"tools"},
]
FLOOR = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
SOURCES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ("__init__.py", "__main__.py")
)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(node: ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cmrrecon"):
            assert node.level == 0
            names = (
                [node.module]
                if node.module != "cmrrecon"
                else [cmrrecon._PUBLIC.get(name, f"cmrrecon.{name}") for name in imported(node)]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("cmrrecon.")]
        rooms |= {name.split(".")[1] for name in names}
    return rooms - {"__version__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards_only(path):
    here = room_of(path)
    for room in imported_rooms(path):
        assert room == here or FLOOR[room] > FLOOR[here], f"{here} imports {room}"


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if room_of(p) != "cli"], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_only_the_command_line_prints(path):
    calls = [
        n
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    assert "print" not in {call.func.id for call in calls}


@pytest.mark.parametrize(
    "words", [["--help"], ["reconstruct", "--help"], ["preprocess", "--help"], ["--version"]]
)
def test_help_is_light(words):
    code = (
        "import sys\n"
        "from cmrrecon.cli.app import main\n"
        f"sys.argv = ['cmrrecon', *{words!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'sigpy', 'matplotlib', 'h5py', 'numpy', 'scipy'}\n"
        "    heavy &= set(sys.modules)\n"
        "    print('HEAVY', sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr
    assert "cmrrecon" in done.stdout.lower()


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda p: p.name)
def test_examples_use_the_public_interface_alone(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {
        node.attr for node in nodes if isinstance(node, ast.Attribute) and is_package(node.value)
    }
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not [module for module in modules if module.startswith("cmrrecon.")]
    assert names
    assert names <= set(cmrrecon.__all__)


def is_package(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "cmrrecon"
