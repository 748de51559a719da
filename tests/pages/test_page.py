"""The shell of every page: text is escaped, nothing is requested."""

import base64
import json
import re

import numpy as np
import pytest

from cmrrecon.pages import page
from cmrrecon.pages.page import Html, document, element, joined, png_uri

HOSTILE = """<script>alert("1")</script>&'"""


def test_text_and_attributes_are_escaped():
    written = element("p", HOSTILE, title=HOSTILE)
    assert "<script" not in written
    assert written.count("&lt;script&gt;alert(&quot;1&quot;)") == 2


def test_html_is_not_escaped_twice():
    assert element("p", element("b", "a & b")) == "<p><b>a &amp; b</b></p>"
    assert joined(["<", None, Html("<hr>"), 3]) == "&lt;<hr>3"


def test_attributes_are_named_like_html():
    written = element("input", class_="a", data_scan=1, disabled=True, checked=False, value=None)
    assert written == '<input class="a" data-scan="1" disabled>'
    assert element("line", stroke_width=2) == '<line stroke-width="2"/>'


def test_data_cannot_end_their_element():
    text = document("t", [], data={"facts": {"a": HOSTILE}})
    island = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text)
    assert json.loads(island[1]) == {"a": HOSTILE}


def test_nan_in_data_is_refused():
    with pytest.raises(ValueError, match=r"."):
        document("t", [], data={"facts": float("nan")})


def test_scripts_that_would_end_their_element_are_refused(tmp_path, monkeypatch):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "bad.js").write_text('const a = "</SCRIPT>";')
    monkeypatch.setattr(page, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"bad\.js"):
        page.static("bad.js")


def test_policy_allows_exactly_the_scripts_of_the_page():
    text = document("A & B", [element("p", "x")])
    assert "<title>A &amp; B</title>" in text
    assert "default-src &#x27;none&#x27;" in text
    assert "script-src &#x27;none&#x27;" in text
    assert not re.search(r"(src|href)=", text)


def test_images_are_lossless():
    import io

    from PIL import Image

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    uri = png_uri(pixels)
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)
