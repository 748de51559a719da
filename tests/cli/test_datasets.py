"""`--dataset`: which group of a file of raw data is read."""

import pytest
from ismrmrd_files import cartesian, write


@pytest.mark.parametrize("command", ["info", "reconstruct", "compare", "undersample", "preprocess"])
def test_the_commands_take_a_data_set(tmp_path, run, command):
    path = write(tmp_path / "raw.h5", cartesian(lines=[2, 3]), group="one")
    write(path, cartesian(), group="two", mode="a")
    more = {
        "reconstruct": ["-m", "zero-filled"],
        "compare": ["--methods", "zero-filled"],
        "preprocess": ["--out-dir", tmp_path / "store"],
        "undersample": ["-R", 2, "--acs", 2],
    }
    done = run(command, path, "--dataset", "two", *more.get(command, []), "--json")
    assert done.code == 0, done.err
    assert done.records[-1]["status"] == "done"
    if command != "preprocess":  # which starts processes, and takes long
        done = run(command, path, "--dataset", "three", *more.get(command, []))
        assert done.codes == ["dataset-unknown"]


def test_another_data_set_is_another_recipe(tmp_path, run):
    path = write(tmp_path / "raw.h5", cartesian(lines=range(1, 8)), group="one")
    write(path, cartesian(), group="two", mode="a")
    words = "reconstruct", path, "-m", "zero-filled", "--json", "--dataset"
    assert run(*words, "one").records[0]["status"] == "done"
    assert run(*words, "one").records[0]["status"] == "skipped"
    assert run(*words, "two").code == 1
    assert run(*words, "two", "--overwrite").records[0]["status"] == "done"
