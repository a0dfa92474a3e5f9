"""The rows of a report, with their texts and pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from align_uniform import Measurement
from align_uniform.report import report_html
from align_uniform.report.rows import LONGEST_TEXT, THUMBNAIL, Cell, shortened, thumbnail
from tests.report.page import HOSTILE, Page, picture


def test_rows_are_shown_with_their_texts(two_views: Measurement) -> None:
    texts = [f"the text of row {number}." for number in range(120)]
    shown = Page(report_html(two_views, texts=texts)).shown
    numbers = {pair.x for pair in two_views.worst_pairs} | {row.neighbour for row in two_views.crowded}
    assert all(texts[number] in shown for number in numbers)


def test_rows_are_shown_with_their_pictures(two_views: Measurement, tmp_path: Path) -> None:
    images = [picture(tmp_path / "a.png")] * 120
    page = Page(report_html(two_views, images=images))
    sources = page.attributes("src")
    assert two_views.hubs is not None
    hubs = len(two_views.hubs.top)
    assert len(sources) == len(two_views.worst_pairs) + 2 * len(two_views.crowded) + hubs
    small = Image.open(io.BytesIO(base64.b64decode(sources[0].removeprefix("data:image/jpeg;base64,"))))
    assert small.size == (THUMBNAIL, round(THUMBNAIL * 200 / 300))


def test_the_contents_of_towers_are_those_of_the_first_or_of_both(
    towers: Measurement, tmp_path: Path
) -> None:
    pair = towers.worst_pairs[0]
    first, second = [f"first {number};" for number in range(40)], [f"text {number};" for number in range(50)]
    images = [picture(tmp_path / "a.png")] * 40
    page = Page(report_html(towers, images=images, texts=first))
    assert f"first {pair.x};" in page.shown
    assert len(page.attributes("src")) >= len(towers.worst_pairs)
    both = Page(report_html(towers, texts=(first, second))).shown
    assert f"first {pair.x};" in both
    assert f"text {pair.y};" in both
    captions = Page(report_html(towers, images=images, texts=(None, second))).shown
    assert f"text {pair.y};" in captions


def test_both_sides_of_a_pair_of_views_are_shown_if_they_differ(two_views: Measurement) -> None:
    pair = two_views.worst_pairs[0]
    sides = [[f"{side} {number};" for number in range(120)] for side in ("first", "second")]
    alone = Page(report_html(two_views, texts=sides[0])).shown
    both = Page(report_html(two_views, texts=(sides[0], sides[1]))).shown
    assert f"first {pair.x};" in alone
    assert f"first {pair.x};" in both
    assert f"second {pair.y};" in both


@pytest.mark.parametrize("count", [1, 119, 121])
@pytest.mark.parametrize("name", ["texts", "images"])
def test_another_number_of_texts_or_pictures_is_refused(
    name: str, count: int, two_views: Measurement
) -> None:
    wrong: Any
    for wrong in ([Path("x")] * count, ([Path("x")] * 120, [Path("x")] * count)):
        with pytest.raises(ValueError, match=f"{name} must be one for each of the 120 rows, got {count}"):
            report_html(
                two_views, texts=wrong if name == "texts" else None, images=None if name == "texts" else wrong
            )


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_picture_that_cannot_be_read_is_named_and_the_rest_is_shown(
    content: bytes | None, two_views: Measurement, tmp_path: Path
) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    page = Page(report_html(two_views, images=[path] * 120))
    assert f"{path} cannot be read." in page.shown
    assert page.attributes("src") == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_kind_are_made_small(mode: str, tmp_path: Path) -> None:
    assert thumbnail(picture(tmp_path / "a.tiff", mode=mode)).startswith("data:image/jpeg;base64,")


def test_pictures_of_a_few_pixels_are_enlarged_without_blur(tmp_path: Path) -> None:
    small = Image.new("RGB", (16, 8))
    small.putpixel((0, 0), (255, 255, 255))
    shown = Image.open(io.BytesIO(base64.b64decode(thumbnail(small).partition(",")[2]))).convert("L")
    assert shown.size == (112, 56)
    corner, beside = shown.getpixel((3, 3)), shown.getpixel((12, 3))
    assert isinstance(corner, int)
    assert isinstance(beside, int)
    assert (corner > 200, beside < 60) == (True, True)


def test_hubs_are_rows_that_most_others_find(two_views: Measurement) -> None:
    page = Page(report_html(two_views, texts=[f"<{number}>" for number in range(120)]))
    assert two_views.hubs is not None
    first = two_views.hubs.top[0]
    assert f"{first.row:,}<{first.row}>" in "".join(page.shown.split())


@pytest.mark.parametrize(
    ("number", "note", "is_once"),
    [
        ("17", "17: a text", True),
        ("17", "17", True),
        ("1,234", "1234. a text", True),
        ("5", "row 5 of a file", True),
        ("17", "17.5 kg", False),
        ("17", "17th century", False),
        ("3", "3 dogs", False),
        ("5", "row 55", False),
        ("5", "a text", False),
        ("", "a class", False),
    ],
)
def test_a_number_that_its_text_begins_with_is_shown_once(number: str, note: str, is_once: bool) -> None:
    assert Cell(number, 0, note).is_in_note == is_once


def test_numbers_stand_above_texts_that_do_not_begin_with_them(two_views: Measurement) -> None:
    numbered, others = (
        Page(report_html(two_views, texts=[f"{start}text {row}" for row in range(120)])).shown
        for start in ("", "about: ")
    )
    row = two_views.worst_pairs[0].x
    assert f"{row}text {row}" not in numbered
    assert f"{row}about: text {row}" in others


def test_long_texts_are_cut_and_characters_that_deceive_are_left_out() -> None:
    assert shortened("x" * 999) == "x" * LONGEST_TEXT + "…"
    assert shortened("a\x00b\n\n c\u202ed\u200be") == "a b c d e"
    assert shortened("größe 尺寸 мера") == "größe 尺寸 мера"


def test_hostile_file_names_are_escaped(two_views: Measurement) -> None:
    page = Page(report_html(two_views, images=[Path(f"a{HOSTILE.replace('/', '')}")] * 120))
    assert page.count("script") == 1
    assert page.count("img") == 0
