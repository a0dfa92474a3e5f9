"""The conversion of a figure to SVG that can stand inside an HTML page."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from align_uniform.figures._style import ACCENT, FAINT, INK, LINE, OPTIMUM, PAPER, SECOND, SHADE, STYLE

THEME = {
    INK: "ink",
    FAINT: "faint",
    LINE: "line",
    SHADE: "shade",
    ACCENT: "accent",
    SECOND: "second",
    OPTIMUM: "optimum",
    PAPER: "paper",
}
"""Colours that the page may change, by the name of the CSS variable: dark pages need light ink."""

HREF = "{http://www.w3.org/1999/xlink}href"


def inline_svg(figure: Figure, *, prefix: str, label: str) -> str:
    """Return the figure as an `<svg>` element that fits in a page with other figures and a strict policy.

    Matplotlib writes a document of its own. Inside a page its ids would collide with those of the next
    figure, its `<style>` would apply to the whole page, and its style attributes would need `unsafe-inline`
    in the Content-Security-Policy. So ids are numbered under `prefix`, styles become presentation attributes,
    and the colours of the look become `var(--ink, #1f2430)` and so on: --ink, --faint, --line, --shade,
    --accent, --second, --optimum, --paper. The page decides on the size and the font.

    Args:
        figure: the figure; its background is left out.
        prefix: the beginning of its ids, different for every figure of a page.
        label: the text that a screen reader reads in its place.

    Example:
        >>> import numpy as np
        >>> from align_uniform import figures
        >>> curve = figures.Curve("loss", np.array([1, 2]), np.array([-1.0, -2.0]))
        >>> svg = figures.inline_svg(figures.curves_figure([curve]), prefix="loss", label="The loss falls")
        >>> svg[:4], "var(--ink, " in svg
        ('<svg', True)
    """
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(text.getvalue())
    _drop_elements(root)
    _number_ids(root, prefix)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        move_style(element)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": label})
    return ET.tostring(root, encoding="unicode")


def _drop_elements(root: ET.Element) -> None:
    """Drop the metadata, which are full of addresses, and the style sheet, which would apply to the page."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)


def _number_ids(root: ET.Element, prefix: str) -> None:
    """Keep the ids that something refers to, each under a name of this figure's own."""
    text = ET.tostring(root, encoding="unicode")
    used = dict.fromkeys(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
    names = {first or second: f"{prefix}-{number}" for number, (first, second) in enumerate(used)}
    for element in root.iter():
        if (old := element.attrib.pop("id", None)) in names:
            element.set("id", names[old])
        for key, value in list(element.attrib.items()):
            if key == HREF:
                element.set("href", f"#{names[value[1:]]}" if value.startswith("#") else value)
                del element.attrib[key]
            else:
                element.set(key, re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{names[match[1]]})", value))


def move_style(element: ET.Element) -> None:
    """Move `style` to attributes of the same names, which a policy without inline styles allows."""
    for declaration in filter(None, map(str.strip, element.attrib.pop("style", "").split(";"))):
        name, _, value = map(str.strip, declaration.partition(":"))
        if name == "font":  # the shorthand of older matplotlib: weight and size, then the family
            size = re.search(r"([\d.]+px)", value)
            weight = re.search(r"\b(bold|[5-9]00)\b", value)
            found = {"font-size": size and size[1], "font-weight": weight and weight[1]}
            element.attrib.update({key: part for key, part in found.items() if part})
        elif name != "font-family":
            element.set(name, f"var(--{THEME[value]}, {value})" if value in THEME else value)
    if element.tag == "svg":
        element.attrib.update({"stroke-linejoin": "round", "stroke-linecap": "butt"})
