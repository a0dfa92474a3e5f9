"""What the package exports, and what importing it costs."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import align_uniform

PUBLIC = [
    "AlignLoss",
    "AlignUniformLoss",
    "ContrastiveLoss",
    "UniformLoss",
    "__version__",
    "align_loss",
    "contrastive_loss",
    "gather_rows",
    "uniform_loss",
    "uniform_optimum",
]


def modules_loaded_by(code: str) -> set[str]:
    """The modules that a fresh process holds after running the code."""
    script = f"import sys\n{code}\nprint(*sorted(sys.modules), sep='\\n')"
    return set(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split())


def test_the_public_names_are_frozen() -> None:
    assert align_uniform.__all__ == PUBLIC
    assert all(hasattr(align_uniform, name) for name in PUBLIC)


def test_every_public_name_is_documented() -> None:
    assert [name for name in PUBLIC if name != "__version__" and not getattr(align_uniform, name).__doc__] == []


def test_importing_the_package_loads_torch_and_nothing_else() -> None:
    by_torch = modules_loaded_by("import torch")
    beyond = modules_loaded_by("import align_uniform") - by_torch
    assert {name for name in beyond if not name.startswith("align_uniform")} == set()
    # The probe can fail: it reports a module of the standard library, and one of a third party.
    assert "wave" in modules_loaded_by("import torch, wave") - by_torch
    assert any(name.startswith("hypothesis") for name in modules_loaded_by("import torch, hypothesis") - by_torch)


def test_the_package_is_typed() -> None:
    assert importlib.resources.files("align_uniform").joinpath("py.typed").is_file()
