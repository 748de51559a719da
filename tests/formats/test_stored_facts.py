"""Facts about a scan as JSON: what is stored comes back, and paths are refused."""

import json

import pytest
from refusals import refused

from cmrrecon.data import Acquisition
from cmrrecon.formats.stored_facts import (
    IN_PATHS,
    acquisition_from_json,
    acquisition_to_json,
    is_plain,
)


def test_acquisition_json_round_trips_and_tolerates_invalid_text():
    facts = Acquisition(
        "T1map", "Mapping", 2025, "Center001", "UIH_30T_umr780", "P001", "kt-radial", 8, 20, 7
    )
    assert acquisition_from_json(acquisition_to_json(facts)) == facts
    assert acquisition_from_json(
        '{"base": 3, "year": "x", "seed": true, "pattern": "uniform", "new": 1}'
    ) == Acquisition(pattern="uniform")
    for text in ("", "[]", "[" * 100_000):
        assert acquisition_from_json(text) == Acquisition()


@pytest.mark.parametrize("value", ["../x", "/abs/x", "a/b", "..", ".", "", "a\\b", "a\nb", "a\0b"])
@pytest.mark.parametrize("name", IN_PATHS)
def test_facts_that_lead_to_another_folder_are_refused(name, value):
    with refused("name-unsafe"):
        acquisition_from_json(json.dumps({name: value}))
    assert not is_plain(value)


def test_facts_that_name_no_file_may_contain_anything():
    text = json.dumps({"sequence": "cine/retro", "subject": "P001"})
    assert acquisition_from_json(text) == Acquisition(sequence="cine/retro", subject="P001")
