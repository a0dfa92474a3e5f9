"""Tests that the README shows the truth."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_trains_an_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(code, "README.md", "exec"), {})
    out = capsys.readouterr().out
    uniform = [float(value) for value in re.findall(r"uniform (-\d\.\d+)", out)]
    assert uniform[-1] < uniform[0] - 1
    assert out.endswith("in 16 dimensions: -3.513\n")


def links(markdown: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", markdown)


def test_every_file_that_the_readme_links_to_is_there() -> None:
    local = [link for link in links(README) if not link.startswith("http")]
    assert local
    assert not [link for link in local if not (ROOT / link).exists()]


def test_no_link_is_relative_where_the_readme_is_shown_outside_of_the_repository() -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shown = module.with_absolute_links(README + "[here](#try-it)", "https://example.org/repository")
    assert [link for link in links(shown) if not link.startswith("https://")] == ["#try-it"]
    assert "![The layers" in shown
    assert "(https://example.org/repository/raw/main/docs/sentences.png)" in shown
    assert "(https://example.org/repository/blob/main/docs/measuring.md)" in shown
