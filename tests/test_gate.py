"""The workflow of the page about gates: its steps are run, and fail for an embedding that is spoilt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from align_uniform import Measurement
from tests import json_schema

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / "examples" / "ci" / "embedding-gate.yml"

ENCODE = """
import numpy as np
from sklearn.datasets import load_digits

pixels = load_digits().data[:240]
center, axes = pixels.mean(0), np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)[2]
seen = pixels + np.random.default_rng(0).normal(size=pixels.shape)
np.save("features.npy", ((pixels - center) @ axes.T){spoilt})
np.save("other_view.npy", ((seen - center) @ axes.T){spoilt})
np.savetxt("ids.txt", np.arange(240), fmt="digit %d")
"""
"""An encoder of digits, by principal components of the pixels, and of the same digits with noise."""


def steps() -> list[dict[str, Any]]:
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return list(job["steps"])


def is_install(step: dict[str, Any]) -> bool:
    return str(step["run"]).startswith("pip install ")


def run(folder: Path, spoilt: str = "") -> dict[str, subprocess.CompletedProcess[str]]:
    """Run every step of the workflow that is a script, but for the one that needs a network."""
    (folder / "encode.py").write_text(ENCODE.format(spoilt=spoilt))
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    for name, words in (("align-uniform", "-m align_uniform"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    return {
        step["name"]: subprocess.run(
            ["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, capture_output=True, text=True
        )
        for step in steps()
        if "run" in step and not is_install(step)
    }


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the rows of a release, as the encoder made them."""
    (tmp_path / "release").mkdir()
    monkeypatch.chdir(tmp_path / "release")
    exec(ENCODE.format(spoilt=""), {})
    return tmp_path


def test_a_healthy_embedding_passes_and_its_numbers_are_kept(repository: Path) -> None:
    done = run(repository, " + 1e-3 * np.random.default_rng(1).normal(size=(240, 64))")
    assert [*done] == ["Encode", "Measure", "Compare with the last release"]
    assert {name: (each.returncode, each.stderr) for name, each in done.items()} == {
        "Encode": (0, ""),
        "Measure": (0, "report: report.html\n"),
        "Compare with the last release": (0, ""),
    }
    result = Measurement.from_json((repository / "measurement.json").read_text())
    assert result.n == 240
    drift = json.loads((repository / "drift.json").read_text())
    json_schema.check(drift, "drift")
    assert drift["paired"]
    kept = next(step for step in steps() if "upload-artifact" in step.get("uses", ""))["with"]["path"]
    assert all((repository / name).stat().st_size > 100 for name in kept.split())


def test_a_spoilt_embedding_fails_both_gates_and_its_numbers_are_kept(repository: Path) -> None:
    done = run(repository, "[np.random.default_rng().permutation(240)] + 100")
    measured, compared = done["Measure"], done["Compare with the last release"]
    assert (done["Encode"].returncode, measured.returncode, compared.returncode) == (0, 3, 3)
    for words in ("problem, --fail-on problem", "align.relative is ", "retrieval.forward.recall_1 is "):
        assert words in measured.stderr
    assert "moved" in compared.stderr
    assert json.loads((repository / "measurement.json").read_text())["findings"]
    assert json.loads((repository / "drift.json").read_text())["moved"]


def test_the_page_includes_the_workflow_and_a_step_installs_the_extras_that_it_needs() -> None:
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    assert "```{literalinclude} ../examples/ci/embedding-gate.yml" in page
    assert "align-uniform measure features.npy" not in page  # it stands once
    (install,) = [step["run"] for step in steps() if "run" in step and is_install(step)]
    assert install == "pip install 'align-uniform[cli,report]'"
