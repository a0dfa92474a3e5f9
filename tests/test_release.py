"""Tests of the files of a release: a registry takes them, and the wheel alone does what the README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from align_uniform import __version__

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return (
        folder / f"align_uniform-{__version__}.tar.gz",
        folder / f"align_uniform-{__version__}-py3-none-any.whl",
    )


@pytest.fixture(scope="module")
def installed(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and takes all else from the one of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", files[1])
    place = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(place) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return programs


def test_a_registry_takes_both_files(files: tuple[Path, Path]) -> None:
    assert run(sys.executable, "-m", "twine", "check", "--strict", *files).count("PASSED") == 2


def test_no_file_of_the_package_is_missing(files: tuple[Path, Path]) -> None:
    package = ROOT / "src" / "align_uniform"
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected == {name for name in zipfile.ZipFile(files[1]).namelist() if "dist-info" not in name}
    with tarfile.open(files[0]) as held:
        names = {name.split("/", 1)[-1] for name in held.getnames()}
    assert {f"src/{name}" for name in expected} | {"LICENSE", "Makefile", "tests/test_release.py"} <= names


def test_the_first_screen_of_the_readme_works_in_another_environment(installed: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "first.py").write_text(code + "import align_uniform; print(align_uniform.__file__)\n")
    *_, optimum, file = run(installed / "python", "first.py", cwd=tmp_path).splitlines()
    assert optimum == "the optimum of uniformity in 16 dimensions: -3.513"
    assert Path(file).is_relative_to(installed.parent)
    assert __version__ in run(installed / "align-uniform", "--version", cwd=tmp_path)
    assert "alignment" in run(installed / "align-uniform", "measure", "--help", cwd=tmp_path)
