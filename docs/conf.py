"""Sphinx configuration: `make docs` builds docs/_build/index.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

from align_uniform import __version__

project = "align-uniform"
author = "The align-uniform authors"
copyright = author  # noqa: A001  # Sphinx's name
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
default_role = "py:obj"
html_title = f"align-uniform {release}"
exclude_patterns = ["_build", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"  # a dataclass has its fields, with their types
html_math_renderer = "mathml"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
suppress_warnings = [
    "myst.xref_missing",  # links to files of the repository, which are no pages
    "config.cache",  # the function that saves figures cannot be kept between builds
]


NO_BREAK = "\N{NO-BREAK SPACE}"

COLON = "\ue000"
"""The letter in place of a colon, which napoleon would take for the end of a type."""

SHORT = 24
"""The number of letters of a piece of code up to which it fits a line of a phone."""


def drawn_figure(_block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figure that a block of a script has drawn, and return the picture in reStructuredText.

    Our figures are those of no window, so that matplotlib's list of figures does not have them.
    """
    figure = block_vars["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=150)
    shown: str = figure_rst([path], gallery_conf["src_dir"])
    return shown


sphinx_gallery_conf = {
    "examples_dirs": str(Path(__file__).parents[1] / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "image_scrapers": (drawn_figure,),
    "show_memory": False,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 3600,
}


def setup(app: Sphinx) -> None:
    """Show mathematics as MathML, which browsers draw themselves, and which asks nothing of the network.

    Numbers stay together with their errors, and short pieces of code are not broken.
    """
    app.connect("doctree-read", _keep_together)
    app.connect("autodoc-process-docstring", _hide_colons, priority=400)
    app.connect("autodoc-process-docstring", _show_colons, priority=600)
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda page, node: _math(page, node, "inline"), None),
        block_renderers=(lambda page, node: _math(page, node, "block"), None),
    )


def _hide_colons(_app: Sphinx, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Hide the colons in the docstrings of fields, of which napoleon would make types."""
    if what in ("attribute", "property", "data"):
        lines[:] = [line.replace(": ", f"{COLON} ") for line in lines]


def _show_colons(_app: Sphinx, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Show the colons again, after napoleon."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def _keep_together(_app: Sphinx, page: nodes.document) -> None:
    """Keep what is read as one on one line: numbers with their errors in tables, and options in sentences."""
    for cell in page.findall(nodes.entry):
        for text in list(cell.findall(nodes.Text)):
            kept = text.replace(" ± ", f"{NO_BREAK}±{NO_BREAK}").replace("< ", f"<{NO_BREAK}")
            if kept != text:
                text.parent.replace(text, nodes.Text(kept))
    for code in page.findall(nodes.literal):
        if len(code.astext()) <= SHORT:
            code["classes"].append("whole")


def _math(page: Any, node: nodes.Element, display: str) -> None:
    """Write a formula, and go on after it."""
    formula = convert(node.astext(), display=display)
    page.body.append(f'<div class="math">{formula}</div>' if display == "block" else formula)
    raise nodes.SkipNode
