"""Print the lower bounds in pyproject.toml as pinned versions: lowest.py [EXTRA ...]."""

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def main(extras: list[str]) -> None:
    """Print one `name==version` per line, for the dependencies and the named extras."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    wanted = [project["dependencies"], *(project["optional-dependencies"][e] for e in extras)]
    for requirement in (text for texts in wanted for text in texts):
        if not requirement.startswith(project["name"]):
            print(requirement.replace(">=", "=="))


main(sys.argv[1:])
