"""A report's page, taken apart, and a picture to show in it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&]]>--></pre></style></title>{{ 7 * 6 }}"
VOID = {"meta", "img", "br", "link", "hr", "input", "source", "col", "area", "base", "embed", "wbr"}


class Page(HTMLParser):
    """A page taken apart; a tag that is closed out of order raises."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.shown = ""
        self.document = ""
        self.policy = ""
        self.hashes: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> is not closed outside of SVG"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"style", "script"}:
            self.hashes[self.open[-1]] = (
                "sha256-" + base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
            )
        elif "pre" in self.open:
            self.document += data
        else:
            self.shown += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]

    def count(self, tag: str) -> int:
        return sum(tag == other for other, _ in self.tags)


KINDS = [
    "two views", "features", "towers", "labels", "scored pairs", "anchors", "few", "one dimension",
    "two dimensions", "as they are", "constant", "cone", "without details", "from JSON",
]  # fmt: skip


def picture(path: Path, size: tuple[int, int] = (300, 200), mode: str = "RGB") -> Path:
    Image.new(mode, size, 90).save(path)
    return path
