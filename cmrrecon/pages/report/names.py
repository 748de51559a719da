"""What a report may show of names: official names, never folders or file names of the user.

Folders and file names often name a patient. A report therefore numbers the scans and shows only
facts whose form is official, such as subject P003. The key, a separate file, has the paths.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cmrrecon.data import Acquisition
from cmrrecon.formats.names import FOLDERS, modality_of
from cmrrecon.tools.errors import CmrreconError

SUBJECT = re.compile(r"P\d{3,}")
CENTRE = re.compile(r"Center\d+")
SCANNER = re.compile(r"[A-Za-z]+_\d\dT_[\w.]+")
BASE = re.compile(r"[A-Za-z0-9]+(_(sax|lax|[2-5]ch|lvot|rvot|sag|tra|r|post|map))*")
# Words shorter than this are too common to be recognised as part of a name.
SHORTEST = 3
PATH = re.compile(r"\S*[/\\]\S*|\S+\.(?:h5|mat|npy|npz|cfl|hdr|mrd|dat|csv)\b")
# Words of official paths and of this program's own outputs, in lower case.
ORDINARY = re.compile(
    r"p\d+|center\d+|multicoil|singlecoil|(training|validation|test)set|fullsample|cmrxrecon\d*"
    r"|(undersample|mask)(_\w+)?|accfactor\d+|\d+|kus|mask|truth|scan|images?|slices?|frames?"
    r"|reference|reconstructions?|the|and|not|was|has|with|all|data|report|output|rec"
)

# Replace sentences with a name of the user in them.
OTHERWISE = (
    "A file cannot be used",
    "The list of error codes explains this code",
    "The key of the report has the names of the files",
)


def safe_facts(facts: Acquisition) -> dict[str, Any]:
    """Return the facts about a scan that contain no free text of the user.

    Returns
    -------
    dict
        `modality`, `base`, `subject`, `centre`, `vendor`, `coil`, `pattern`, `acceleration`, `acs`
        and `seed`; None where unknown or not in the official form.
    """
    base = facts.base
    return {
        "modality": facts.modality if facts.modality in FOLDERS else modality_of(base),
        "base": base if modality_of(base) and BASE.fullmatch(base) else None,
        "subject": _matching(SUBJECT, facts.subject),
        "centre": _matching(CENTRE, facts.centre),
        "vendor": _matching(SCANNER, facts.vendor),
        "coil": facts.coil if facts.coil in ("multi", "single") else None,
        "pattern": _matching(re.compile(r"[a-z]+(-[a-z]+)*"), facts.pattern),
        "acceleration": facts.acceleration,
        "acs": facts.acs,
        "seed": facts.seed,
    }


def label_of(facts: Mapping[str, Any]) -> str:
    """Return a short description of a scan, such as `P003 cine_sax, kt-gaussian R 8`."""
    first = " ".join(str(facts[key]) for key in ("centre", "subject", "base") if facts[key])
    factor = facts["acceleration"]
    second = " ".join(
        part
        for part in (facts["pattern"], None if factor is None else f"R {factor:g}")
        if part is not None
    )
    return ", ".join(part for part in (first, second) if part) or "no official name"


class Names:
    """Finds the user's own names in texts.

    Parameters
    ----------
    paths : iterable of Path
        The files and folders whose names must not appear.
    known : iterable of str
        Words that may appear, such as the names of methods.
    """

    def __init__(self, paths: Iterable[Path], known: Iterable[str] = ()) -> None:
        allowed = {word.lower() for text in known for word in _words(text)}
        found = {word for path in paths for part in path.parts for word in _words(part)}
        self.words = {
            word.lower()
            for word in found
            if len(word) >= SHORTEST
            and word.lower() not in allowed
            and not ORDINARY.fullmatch(word.lower())
            and modality_of(word) is None
        }

    def clean(self, text: str) -> str:
        """Return a text without paths; empty if a name of the user is still in it."""
        shown = PATH.sub("the file", text)
        return "" if self.words & {word.lower() for word in _words(shown)} else shown

    def cleaned(self, error: CmrreconError) -> CmrreconError:
        """Return an error whose sentences contain no name of the user."""
        sentences = (error.found, error.expected, error.remedy)
        kept = [self.clean(text) or other for text, other in zip(sentences, OTHERWISE, strict=True)]
        return type(error)(error.code, *kept)


def _matching(form: re.Pattern[str], text: str | None) -> str | None:
    return text if text is not None and form.fullmatch(text) else None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)
