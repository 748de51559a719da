"""Provenance in `.svg` and `.pdf` figures."""

import pytest
from matplotlib.figure import Figure
from refusals import refused

from cmrrecon.formats import read_provenance
from cmrrecon.tools.provenance import to_json

FIELDS = {"svg": "Description", "pdf": "Keywords"}
STAMP = {"config": {"method": "a (b) \\ <c> & \"d\" 'e'\n", "who": "Zoë"}, "notice": "x" * 1000}


def write(path, text):
    figure = Figure()
    figure.text(0.1, 0.1, '<dc:description>{"a": 1}</dc:description> /Keywords ({"a": 1})')
    kind = path.suffix[1:]
    figure.savefig(path, format=kind, metadata={FIELDS[kind]: text} if text else None)


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_the_provenance_comes_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, to_json(STAMP))
    assert read_provenance(path) == STAMP


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
@pytest.mark.parametrize("text", [None, "a figure"])
def test_other_figures_have_none(tmp_path, suffix, text):
    path = tmp_path / f"a{suffix}"
    write(path, text)
    assert read_provenance(path) is None


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_cut_figures_raise_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write(path, to_json(STAMP))
    whole = path.read_bytes()
    for part in range(1, 16):
        path.write_bytes(whole[: len(whole) * part // 16])
        assert read_provenance(path) in (None, STAMP)


def test_entities_are_not_expanded(tmp_path):
    path = tmp_path / "a.svg"
    entity = '<!DOCTYPE svg [<!ENTITY a "{&quot;config&quot;: {}}">]>'
    path.write_text(f"<?xml?>{entity}<svg><dc:description>&a;</dc:description></svg>")
    assert read_provenance(path) is None


def test_the_search_is_bounded(tmp_path):
    path = tmp_path / "a.svg"
    field = '<dc:description>{"config": {}}</dc:description>'
    path.write_text(f"<svg>{field}")
    assert read_provenance(path) == {"config": {}}
    path.write_text(f"<svg>{' ' * 2**20}{field}")
    assert read_provenance(path) is None
    path.write_text("<svg><dc:description>{}</dc:description>")
    with refused("provenance-damaged"):
        read_provenance(path)
