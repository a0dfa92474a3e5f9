"""The remedies in messages work when they are typed.

A case is something that fails, the words of the message that are to be typed, and what comes of typing them:
a command line that begins with `align-uniform`, a line for the shell that begins with `$`, after which the
same command passes, or an expression of Python.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import align_uniform
from align_uniform import uniform_loss
from align_uniform.cli import COMMANDS, main
from align_uniform.files import open_rows, read_column, read_columns
from tests.cli.conftest import folder as folder
from tests.rows import unit

SOURCE = Path(align_uniform.__file__).parent


@dataclass(frozen=True)
class Case:
    """Something that fails, and the remedy in its message."""

    fails: str
    """A command line that begins with `align-uniform`, or an expression of Python."""
    says: str
    """The words of the message that are to be typed."""
    passes: str = "{fails} {says}"
    """What is typed, with {fails} and {says} as above; a line for the shell begins with `$`."""


MEASURE = "align-uniform measure x.npy "

CASES = [
    Case("align-uniform measure x.npy --pairs pairs.csv", "--all-pairs"),
    Case("align-uniform measure x.npy --pairs pairs.csv", "--threshold", "{fails} {says} 2"),
    Case("align-uniform measure x.npy --pairs sim.csv --threshold 2", "--score similarity"),
    Case("align-uniform measure x.npy --pairs named2.csv --ids ids.txt", "--columns sentence1 sentence2"),
    Case(
        "align-uniform measure x.npy --pairs headless.csv --threshold 2",
        "sed -i '1i x,y,score' headless.csv",
        "$ {says}",
    ),
    Case(
        "align-uniform measure x.npy --report r.html --texts headed.txt", "sed -i 1d headed.txt", "$ {says}"
    ),
    Case("align-uniform measure x.npy --json --texts blank.txt", "sed -i '51,$d' blank.txt", "$ {says}"),
    Case(
        "align-uniform measure x.npy --report r.html --texts headless.txt.csv",
        "sed -i '1i value' headless.txt.csv",
        "$ {says}",
    ),
    Case("align-uniform measure x.npy --anchors 20", "--method anchors"),
    Case("align-uniform measure x.npy --texts ids.txt", "--report", "{fails} {says} r.html"),
    Case("align-uniform measure x.npy --report no/where/x.html", "mkdir -p no/where", "$ {says}"),
    Case("align-uniform measure x.npy --report ids.txt", "--force"),
    Case(
        "align-uniform measure x.npy --rows-out r.csv",
        "--rows-out r.parquet",
        "align-uniform measure x.npy {says}",
    ),
    Case("align-uniform measure x.npy --dims 4 2", "2 4", "align-uniform measure x.npy --dims {says}"),
    Case("align-uniform measure xy.npz", "xy.npz::x", "align-uniform measure {says}"),
    Case("align-uniform measure x.npy --pairs named.csv", "--ids", "{fails} {says} ids.txt"),
    Case("open_rows('xy.npz')", "xy.npz::x", "open_rows('{says}')"),
    Case("uniform_loss(x.int())", "x.float()", "uniform_loss({says})"),
    Case("uniform_loss(x.tolist())", "torch.as_tensor(x)", "uniform_loss({says})"),
]
"""Add the remedy of a new message here."""


@pytest.fixture(autouse=True)
def tables(folder: Path) -> None:
    """Add files to the folder that the cases fail with."""
    ids = (folder / "ids.txt").read_text()
    (folder / "sim.csv").write_text("x,y,similarity\n0,1,5\n2,3,4\n")
    (folder / "named2.csv").write_text("sentence1,sentence2\nu0,u1\nu7,u3\n")
    (folder / "headless.csv").write_text("0,1,5\n2,3,4\n")
    (folder / "headed.txt").write_text("text\n" + ids)
    (folder / "blank.txt").write_text(ids + "\n")
    (folder / "headless.txt.csv").write_text(ids)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.fails}: {case.says}")
def test_a_remedy_works_when_it_is_typed(
    case: Case, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = outcome(case.fails, capsys)
    assert message is not None, "it must fail"
    assert case.says in message
    typed = case.passes.format(fails=case.fails, says=case.says)
    if typed.startswith("$ "):
        subprocess.run(["sh", "-c", typed[2:]], check=True)
        typed = case.fails
    assert outcome(typed, capsys) is None


def outcome(typed: str, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Return the message with which a command line or an expression fails; None if it passes."""
    first, *arguments = shlex.split(typed)
    if first == "align-uniform":
        code = main(arguments)
        printed = capsys.readouterr().err
        return printed if code else None
    names: dict[str, Any] = {"x": unit(20, 6).float(), "torch": torch}
    names |= {each.__name__: each for each in (uniform_loss, open_rows, read_column, read_columns)}
    try:
        eval(typed, {**vars(align_uniform), **names})  # a case above
    except (ValueError, OSError) as error:
        return str(error)
    return None


# ------------------------------------------------------------------------------- what messages name, exists


def texts() -> Iterator[tuple[Path, str]]:
    """Yield all texts in the code, with the parts of formatted ones apart, except docstrings."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
                yield path, node.value


def options() -> set[str]:
    """Return the options of all commands."""
    parsers = [command.parser(words) for words, command in COMMANDS.items()]
    return {option for parser in parsers for action in parser.actions for option in action.option_strings}


def test_every_option_that_a_message_names_exists() -> None:
    known = options() | {"--nproc-per-node", "--version", "--print-completion"}
    named = {
        (option, path.name)
        for path, text in texts()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)
    }
    assert len(named) > 30
    assert {(option, name) for option, name in named if option not in known} == set()


def test_every_command_that_a_message_names_exists() -> None:
    first = {words[0] for words in COMMANDS} | {"COMMAND"}
    named = {word for _, text in texts() for word in re.findall(r"`align-uniform ([a-zA-Z-]+)", text)}
    assert named
    assert named <= first
