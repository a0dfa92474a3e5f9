"""Sphinx configuration: `make docs` builds docs/_build/index.html."""

from __future__ import annotations

from align_uniform import __version__

project = "align-uniform"
author = "The align-uniform authors"
copyright = author  # noqa: A001  # Sphinx's name
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
html_theme = "furo"
html_title = f"align-uniform {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository, which are no pages
