"""Figures within a page: its colours, no style sheet, no address, and ids of their own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from align_uniform import figures
from tests.figures.samples import CLASSES, circle, every_panel


def test_inline_figures_share_no_id_and_bring_no_style_sheet_and_no_address() -> None:
    parts = [figures.inline_svg(figure, prefix=name, label=name) for name, figure in every_panel().items()]
    parts.append(
        figures.inline_svg(figures.circle_figure([circle()], CLASSES), prefix="circle", label="circle")
    )
    page = "".join(parts)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) == set(ids)
    assert not re.search(r"http|style|xmlns|<metadata", page)


def test_inline_figures_take_their_colours_from_the_page_and_say_what_they_are() -> None:
    root = ET.fromstring(figures.inline_svg(every_panel()["pairs"], prefix="p", label='mean "0.2" < 1'))
    assert root.attrib == {"viewBox": root.get("viewBox"), "role": "img", "aria-label": 'mean "0.2" < 1'}
    colours = {element.get(name, "none") for element in root.iter() for name in ("fill", "stroke")}
    assert {colour for colour in colours if colour.startswith("#")} == set()
    assert "var(--accent, #2a6f97)" in colours
    assert {element.get("fill", "") for element in root.iter("text")} <= {
        "",
        "var(--ink, #1f2430)",
        "var(--faint, #5a6070)",
    }


def test_inline_figures_understand_the_font_shorthand_of_older_matplotlib() -> None:
    from align_uniform.figures._inline import move_style

    text = ET.Element(
        "text", {"style": "font: 700 9px 'DejaVu Sans', sans-serif; text-anchor: middle; fill: #1f2430"}
    )
    move_style(text)
    assert text.attrib == {
        "font-weight": "700",
        "font-size": "9px",
        "text-anchor": "middle",
        "fill": "var(--ink, #1f2430)",
    }
