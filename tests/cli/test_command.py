"""Help and version need nothing but Python; a command names the extra that it needs before any work."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from align_uniform._version import __version__
from align_uniform.cli import COMMANDS
from align_uniform.cli.command import named

ALONE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

class OnlyPython(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {*sys.stdlib_module_names, "align_uniform"}:
            return super().find_spec(name, path, target)

before = set(sys.modules)
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, OnlyPython]
from align_uniform.cli import main

code = main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
assert loaded <= {*sys.stdlib_module_names, "align_uniform"}, loaded
sys.exit(code)
"""
"""A process in which no module of a third party can be imported."""


def alone(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ALONE, *words], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("words", [(), ("pretrain",), ("evaluate",), *COMMANDS], ids=" ".join)
def test_a_help_page_needs_nothing_but_python(words: tuple[str, ...]) -> None:
    done = alone(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(("usage: align-uniform", *words)))


def test_the_version_needs_nothing_but_python() -> None:
    done = alone("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"align-uniform {__version__}\n", "")


def test_a_usage_error_needs_nothing_but_python() -> None:
    done = alone("pretrain", "moco", "--quue", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean --queue?" in done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["measure", "x.npy"], "cli"),
        (["compare", "x.npy", "y.npy"], "cli"),
        (["demo"], "recipes"),
        (["pretrain", "moco", "--preset", "imagenet"], "recipes"),
        (["evaluate", "knn", "--encoder", "x.pth"], "recipes"),
        (["imagenet-subset", "full", "some", "--classes", "x.txt"], "cli"),
    ],
)
def test_a_command_without_its_libraries_is_one_line(words: list[str], extra: str) -> None:
    done = alone(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(f" are missing; run: pip install 'align-uniform[{extra}]'\n")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_what_a_command_names_is_there(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert is_dataclass(named(command.options))
    assert callable(named(command.run))


def test_the_documentation_lists_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
    assert [words for words in COMMANDS if f"`{' '.join(words)}`" not in page] == []
