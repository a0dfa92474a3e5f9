"""The code of the pages of the documentation, as a reader types it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGES = Path(__file__).parents[2] / "docs" / "integrations"


def run_page(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run the Python of a page from top to bottom, with what the page says is given, and return all names."""
    page = PAGES / f"{name}.md"
    names = dict(given)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(page), "exec"), names)
    return names
