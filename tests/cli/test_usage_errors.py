"""Mistakes in the words of a command line: a code, the nearest name, and a JSON line."""

import pytest

CASES = [
    (["reconstruct", "a.mat", "--methd", "auto"], "unknown-option", "--method"),
    (["reconstruct", "a.mat", "-X"], "unknown-option", "cmrrecon reconstruct --help"),
    (["models", "show", "--jso"], "unknown-option", "--json"),
    (["--jsn"], "unknown-option", "--help"),
    (["recon", "a.mat"], "unknown-command", "reconstruct"),
    (["models", "shwo", "a.ckpt"], "unknown-command", "show"),
    (["reconstruct"], "argument-missing", "files"),
    (["models", "show"], "argument-missing", "file"),
    (["evaluate", "a.h5"], "option-missing", "--truth"),
    (["preprocess", "data"], "option-missing", "--out-dir"),
    (["reconstruct", "a.mat", "--adapt", "many"], "option-value", "--adapt"),
    (["reconstruct", "a.mat", "--adapt", "-1"], "option-value", "--adapt"),
    (["reconstruct", "a.mat", "-o"], "option-value", "-o"),
    (["reconstruct", "a.mat", "--quiet=3"], "option-value", "--quiet"),
    (["simulate", "--slices", "0"], "option-value", "--slices"),
    (["compare", "a.mat", "b.mat"], "argument-unexpected", "b.mat"),
    (["models", "show", "a.ckpt", "b.ckpt"], "argument-unexpected", "b.ckpt"),
]


def named(case):
    return " ".join(case) if isinstance(case, list) else None


@pytest.mark.parametrize(("words", "code", "said"), CASES, ids=named)
def test_mistakes_in_words_have_a_code_and_advice(run, words, code, said):
    done = run(*words)
    assert (done.code, done.codes, done.out) == (2, [code], "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(("words", "code", "said"), CASES, ids=named)
def test_they_are_json_lines_too(run, words, code, said):
    done = run(*words, env={"CMRRECON_JSON": "1"})
    (record,) = done.records
    assert (done.code, record["exit_code"], record["status"]) == (2, 2, "failed")
    assert record["error"]["code"] == code
    assert all(record["error"][key] for key in ("found", "expected", "remedy"))


def test_the_flag_asks_for_json_wherever_it_stands(run):
    for words in (["models", "--json", "shwo"], ["reconstruct", "a.mat", "--json", "--methd", "x"]):
        assert [record["status"] for record in run(*words).records] == ["failed"]


def test_a_bad_value_from_the_environment_is_reported_alike(run):
    done = run("reconstruct", "a.mat", env={"CMRRECON_ADAPT": "many"})
    assert (done.code, done.codes) == (2, ["option-value"])


def test_no_words_give_the_help(run):
    done = run()
    assert done.code == 2
    assert "reconstruct" in done.out + done.err
    assert done.codes == []
