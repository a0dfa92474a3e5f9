"""What a command prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from align_uniform.cli import main


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)
