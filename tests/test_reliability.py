"""The page about reliability names tests that exist, and shows what was recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks import kills

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_what_holds_a_promise_exists() -> None:
    named = re.findall(r"`((?:tests|benchmarks)/[\w/]+\.\w+)`", PAGE)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).is_file()]
    modules = re.findall(r"`python -m (benchmarks\.\w+)", PAGE)
    assert {module for module in modules if not (ROOT / f"{module.replace('.', '/')}.py").is_file()} == set()


def test_the_page_shows_what_was_recorded() -> None:
    recorded = json.loads((ROOT / "benchmarks/kills.json").read_text(encoding="utf-8"))
    outcomes = [kills.Outcome(**case) for case in recorded["cases"]]
    assert kills.table(outcomes) in PAGE
    assert all(outcome.held for outcome in outcomes)
    assert {outcome.kind for outcome in outcomes} == {"kills", "writes", "signals", "ranks"}
