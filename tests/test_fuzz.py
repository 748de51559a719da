"""A hundred damaged files of every format end in an error with a code, or are read."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import fuzz
from fuzz_targets import TARGETS

MUTANTS = 100


@pytest.mark.parametrize("name", list(TARGETS))
def test_damaged_files_are_refused_or_read(name, tmp_path):
    target, found = TARGETS[name], []
    batches = list(fuzz.batches_of([target], tmp_path, range(9000, 9000 + MUTANTS), set()))
    fuzz.run(batches, 1, lambda target, seed, record: found.append((seed, record)))
    assert len(found) == MUTANTS
    assert [each for each in found if each[1]["outcome"] in fuzz.BAD] == []
    if target.checked:
        assert [seed for seed, record in found if record["outcome"] == "different"] == []
