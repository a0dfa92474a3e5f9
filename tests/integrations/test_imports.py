"""Each integration imports its own tool and no other, and none is imported before it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from align_uniform import integrations

FOLDER = Path(str(integrations.__file__)).parent
FILES = sorted(FOLDER.rglob("*.py"))
TOOLS = {
    "center": {"numpy", "sklearn"},
    "hub": {"huggingface_hub", "safetensors"},
    "sklearn": set(),
    "lightning": {"pytorch_lightning"},
    "metric_learning": {"pytorch_metric_learning"},
    "online": set[str](),
    "sentence_transformers": {"sentence_transformers"},
    "transformers": {"transformers"},
}
"""The tools that each integration imports besides torch."""


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_an_integration_imports_its_own_tool_alone(path: Path) -> None:
    name = path.relative_to(FOLDER).parts[0].removesuffix(".py")
    tools = set(imported(path)) - set(sys.stdlib_module_names) - {"torch", "align_uniform"}
    assert tools <= TOOLS.get(name, set())


def test_every_integration_is_known_here() -> None:
    names = {path.relative_to(FOLDER).parts[0].removesuffix(".py") for path in FILES}
    assert names - {"__init__"} == TOOLS.keys()
    assert "sentence_transformers" in imported(FOLDER / "sentence_transformers" / "losses.py")


def test_the_package_of_integrations_loads_none_of_them() -> None:
    code = "import align_uniform.integrations, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"torch", "transformers", "numpy"} & set(done.stdout.split())
