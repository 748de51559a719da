"""The files beside the page: scores as CSV, everything as JSON, and the key of the names."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmrrecon.pages.report import facts
from cmrrecon.pages.report.names import Names
from cmrrecon.pages.report.scans import Found
from cmrrecon.pages.report.summary import Read

CSV_COLUMNS = (
    *("scan", "method", "protocol", "order", "cropped", "psnr", "ssim", "nmse", "heart_psnr"),
    *("hfen", "body_fraction", "images", "slices", "modality", "base", "subject", "centre"),
    *("vendor", "coil", "pattern", "acceleration", "effective_acceleration", "acs", "seed"),
    *("residual", "weights", "reference_is"),
)


def scores(records: Sequence[dict[str, Any]]) -> str:
    """Return a row for each reconstruction as CSV, by scan and method."""
    return _table(CSV_COLUMNS, sorted(records, key=lambda r: (r["scan"], r["method"])))


def json_text(content: Mapping[str, Any]) -> str:
    """Return the text of the JSON file."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def scan_record(read: Read, names: Names) -> dict[str, Any]:
    """Return everything about a scan for the JSON file."""
    made = []
    for method, record in read.records.items():
        one = read.case.members[method]
        more = {"decision": facts.choice_of(one), "warnings": facts.warnings_of(one, names)}
        made.append({**record, **more, "data_residual": (one.stamp or {}).get("data_residual")})
    return {"scan": read.case.number, "label": read.case.label, "reconstructions": made}


def key(folder: Path, found: Found) -> str:
    """Return the files behind the scans as CSV; those that could not be used are numbered."""
    rows = [
        {"scan": case.number, "method": method, "file": str(relative(one.path, folder))}
        for case in found.cases
        for method, one in case.members.items()
    ]
    rows += [
        {"scan": f"file {number}", "method": "", "file": str(relative(path, folder))}
        for number, (path, _) in enumerate(found.failures, 1)
    ]
    return _table(("scan", "method", "file"), rows)


def relative(path: Path, folder: Path) -> Path:
    """Return a path relative to the folder of the report."""
    return path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
