from cmrrecon.evaluation.runs import distinguish_runs, weights_of


def record(method="genre-cmr", weights=None, run=None):
    return {"method": method, "weights": weights, "run": run, "psnr": 1.0}


def labels(*records):
    return [record["method"] for record in distinguish_runs(records)]


def test_one_file_of_weights_keeps_the_name_of_its_network():
    first = record(weights="a" * 64, run="first")
    assert labels(first, first, record("sense")) == ["genre-cmr", "genre-cmr", "sense"]
    assert labels(record("genre-cmr", "a" * 64), record("promptmr", "b" * 64), record(None)) == [
        "genre-cmr",
        "promptmr",
        None,
    ]


def test_several_are_named_by_their_folders():
    first, second = record(weights="a" * 64, run="first"), record(weights="b" * 64, run="second")
    assert labels(first, second) == ["genre-cmr (first)", "genre-cmr (second)"]


def test_the_digest_replaces_folders_that_are_alike_or_unknown():
    first, second = "0123456789" * 6, "abcdef0123" * 6
    expected = ["genre-cmr (01234567)", "genre-cmr (abcdef01)"]
    assert labels(record(weights=first, run="best"), record(weights=second, run="best")) == expected
    assert labels(record(weights=first), record(weights=second, run="best")) == expected
    assert labels(record(weights=first), record(weights=second)) == expected


def test_records_are_not_changed():
    one = record(weights="a" * 64, run="x")
    distinguish_runs([one, record(weights="b" * 64, run="y")])
    assert one["method"] == "genre-cmr"


def test_the_provenance_says_which_weights():
    assert weights_of({"config": {"weights": "abc"}, "run": "first"}) == {
        "weights": "abc",
        "run": "first",
    }
    assert weights_of({"config": {}}) == weights_of(None) == {"weights": None, "run": None}
