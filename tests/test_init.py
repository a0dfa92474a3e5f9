"""Tests of the names that the package exports, and of the cost of importing it."""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import subprocess
import sys
from pathlib import Path

import pytest

import align_uniform

PUBLIC = [
    "AlignLoss",
    "AlignUniformLoss",
    "ContrastiveLoss",
    "Measurement",
    "UniformLoss",
    "W2Loss",
    "__version__",
    "align_loss",
    "compare",
    "compare_accuracies",
    "contrastive_loss",
    "drift",
    "gather_rows",
    "load_encoder",
    "measure",
    "uniform_loss",
    "uniform_optimum",
    "w2_loss",
]


def modules_loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh process holds after running the code."""
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), sep='\\n')"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_the_public_names_are_frozen() -> None:
    assert align_uniform.__all__ == PUBLIC
    assert all(hasattr(align_uniform, name) for name in PUBLIC)


def test_every_public_name_is_documented() -> None:
    assert [
        name for name in PUBLIC if name != "__version__" and not getattr(align_uniform, name).__doc__
    ] == []


def test_type_checkers_see_each_name_in_the_module_that_it_is_imported_from() -> None:
    body = ast.parse(Path(str(align_uniform.__file__)).read_text(encoding="utf-8")).body
    (seen_by_type_checkers,) = (node.body for node in body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in seen_by_type_checkers
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name: getattr(importlib.import_module(str(home)), name) for name, home in seen.items()} == {
        name: getattr(align_uniform, name) for name in PUBLIC if name != "__version__"
    }


def test_all_names_are_listed_before_any_is_used() -> None:
    listed = "import align_uniform; assert set(align_uniform.__all__) <= set(dir(align_uniform))"
    assert "torch" not in modules_loaded_by(listed)


def test_importing_the_package_loads_nothing_but_python() -> None:
    loaded = {name.partition(".")[0] for name in modules_loaded_by("import align_uniform")}
    assert loaded - modules_of_python() == {"align_uniform"}
    # The probe can fail: it reports a third party.
    assert "hypothesis" in modules_loaded_by("import hypothesis") - modules_of_python()


def modules_of_python() -> set[str]:
    """Return the standard library, and the modules that a virtual environment loads at the start."""
    return {*sys.stdlib_module_names, *(name.partition(".")[0] for name in modules_loaded_by(""))}


def test_the_first_loss_loads_torch_and_nothing_else() -> None:
    by_torch = modules_loaded_by("import torch")
    beyond = modules_loaded_by("from align_uniform import AlignUniformLoss, uniform_loss") - by_torch
    assert {name for name in beyond if not name.startswith("align_uniform")} == set()
    # The probe can fail: it reports a module of the standard library, and one of a third party.
    assert "wave" in modules_loaded_by("import torch, wave") - by_torch
    assert any(
        name.startswith("hypothesis") for name in modules_loaded_by("import torch, hypothesis") - by_torch
    )


def test_triton_is_loaded_by_no_loss_that_does_not_need_it() -> None:
    by_torch = modules_loaded_by("import torch")
    code = (
        "import align_uniform, torch; x = torch.eye(3); "
        "align_uniform.uniform_loss(x); align_uniform.contrastive_loss(x, x, 1)"
    )
    assert not {name for name in modules_loaded_by(code) - by_torch if name.startswith("triton")}


def test_measuring_is_loaded_when_it_is_asked_for() -> None:
    measurement = "align_uniform.measuring.measurement"
    assert measurement not in modules_loaded_by("from align_uniform import uniform_loss")
    loaded = modules_loaded_by("from align_uniform import measure")
    assert measurement in loaded
    assert not loaded & {"rich", "matplotlib", "scipy", "pyarrow"}
    assert modules_loaded_by(f"import {measurement}, align_uniform; assert callable(align_uniform.measure)")


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = align_uniform.nothing


def test_the_package_is_typed() -> None:
    assert importlib.resources.files("align_uniform").joinpath("py.typed").is_file()
