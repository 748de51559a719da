"""Configuration of the site, which `make docs` builds offline, with warnings as errors."""

import os
import re
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS
from sphinx.application import Sphinx

import cmrrecon

DOCS = Path(__file__).resolve().parent
GALLERY = DOCS.parent / "examples" / "gallery"
# Two threads are enough for the small scripts of the gallery.
os.environ.setdefault("OMP_NUM_THREADS", "2")

project = "cmrrecon"
author = "The cmrrecon developers"
project_copyright = author
version = release = cmrrecon.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
# `single backticks` in docstrings mean code, as in Markdown.
default_role = "code"
# Blocks without a language show files, tables and program output.
highlight_language = "text"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"cmrrecon {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_default_options = {"special-members": "__call__"}
autodoc_preserve_defaults = True
# Longer signatures have one parameter per line.
maximum_signature_line_length = 80
numpydoc_show_class_members = False
# Link public types only. Other links of numpydoc go to external sites, and builds are offline.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {name: name for name in DEFAULT_LINKS} | {
    name: f"cmrrecon.{name}" for name in cmrrecon.__all__ if name[0].isupper()
}
# Examples in docstrings need the names of their modules, so tests/test_doctests.py runs them.
doctest_test_doctest_blocks = ""

sphinx_gallery_conf = {
    "examples_dirs": str(GALLERY),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 3600,
    "write_computation_times": False,
}

LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<path>\.\./[^)#]*)(?:#[^)]*)?\)")


def only_links_within(_app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace links to files outside the site with their text."""
    folder = (DOCS / docname).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link["path"]).resolve()
        return link[0] if target.is_relative_to(DOCS) else link["text"]

    source[0] = LINK.sub(shown, source[0])


def signatures_that_parse(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, *shown: str | None
) -> tuple[str | None, str | None]:
    """Show factories of fields as `...`: signatures with `<factory>` cannot be parsed."""
    signature, returns = shown
    return signature and signature.replace("<factory>", "..."), returns


def setup(app: Sphinx) -> None:
    """Connect the functions of this file to Sphinx."""
    app.connect("source-read", only_links_within)
    app.connect("autodoc-process-signature", signatures_that_parse)
