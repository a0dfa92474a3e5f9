"""What a command prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from align_uniform.cli import main
from tests import json_schema

KINDS = {"measure": "measurement", "compare": "comparison", "drift": "drift"}
"""The schema of what each command prints."""


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return what a command prints, which follows its published schema."""
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    if arguments[0] in KINDS:
        json_schema.check(document, KINDS[arguments[0]])
    return document
