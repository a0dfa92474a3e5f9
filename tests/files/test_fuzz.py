"""Damaged files: each is read as some numbers or refused in one line.

HDF5 and Parquet are read by libraries that may end the process on a damaged file. They are tried in a process
of their own, `python -m tests.files.test_fuzz NAME FOLDER FIRST`, which reports the outcome for each file
and is started again after a file that ended it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from benchmarks import fuzz
from hypothesis import strategies as st

from align_uniform.files import open_rows, read_column, read_columns
from align_uniform.files.formats import ARRAYS, FORMATS, TABLES
from tests.files.samples import h5py, np, sample
from tests.rows import normal

NUMBERED = 300
"""The damaged files of each format that is tried in a process of its own."""

SECONDS = 60
"""The time after which a process that tries them is taken to hang."""

POSITIONS = 10_000
"""The number of places in a file of any length: place i is i / POSITIONS of its length from its start."""

Flips = list[tuple[int, int]]
"""Places in a file, and masks of the bits that are flipped there."""

IN_C = ["x.h5", "packed.h5", "x.parquet", "x.arrow", "x.feather"]
"""Files that are read by libraries which may end the process."""

NAMES = [f"x{form.endings[0]}" for form in FORMATS] + ["packed.npz", "packed.h5", "old.pt", "x.feather"]
"""A file of every format, and files that are written in another way than usual."""


def intact(path: Path) -> bytes:
    """Write a small valid file and return its content."""
    x, label = normal(9, 4).float(), torch.arange(9)
    match path.name:
        case "packed.npz":
            np.savez_compressed(path, x=x.numpy(), label=label.numpy())
        case "packed.h5":
            with h5py.File(path, "w") as file:
                file["label"] = label.numpy()
                file.create_dataset("group/x", data=x.numpy(), compression="gzip", chunks=(4, 4))
        case "old.pt":
            torch.save({"x": x, "label": label}, path, _use_new_zipfile_serialization=False)
        case _:
            sample(path)
    return path.read_bytes()


def damaged(data: bytes, cut: int, flips: Flips) -> bytes:
    """Return the data with some bits flipped, cut off at a place."""
    changed = bytearray(data)
    for position, mask in flips:
        changed[position * len(data) // POSITIONS] ^= mask
    return bytes(changed[: cut * len(data) // POSITIONS])


def read_all(path: Path) -> None:
    if path.suffix in ARRAYS:
        for rows in open_rows(path):
            assert rows[:].shape == rows.shape
    if path.suffix in TABLES:
        read_columns(path)
    elif path.suffix not in ARRAYS:
        read_column(path)


def outcome(path: Path, content: bytes) -> str:
    """Return "read" or "refused" for a file of that content, or a description of any other outcome."""
    path.unlink(missing_ok=True)  # what is mapped or open stays as it was
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read_all(path)
            result = "read"
        except (ValueError, OSError) as error:
            message = str(error)
            result = (
                "refused" if message.isprintable() and str(path) in message else f"refused by {message!r}"
            )
        except BaseException as error:  # a library in Rust panics beside Exception
            result = repr(error)
    return f"{result}, with {caught[0].message!r}" if caught else result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


MASKS = st.sampled_from([1 << bit for bit in range(8)]) | st.integers(1, 255)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_C])
@hypothesis.settings(max_examples=200)
@hypothesis.given(
    cut=st.just(POSITIONS) | st.integers(0, POSITIONS),
    flips=st.lists(st.tuples(st.integers(0, POSITIONS - 1), MASKS), max_size=8),
)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    folder: Path, name: str, cut: int, flips: Flips
) -> None:
    data = intact(folder / name)
    assert outcome(folder / f"damaged-{name}", data) == "read"
    assert outcome(folder / f"damaged-{name}", damaged(data, cut, flips)) in ("read", "refused")


@pytest.mark.parametrize("name", IN_C)
def test_a_damaged_file_of_a_library_in_c_is_read_or_refused_in_one_line(name: str, folder: Path) -> None:
    outcomes: dict[int, str] = {}
    deadline = time.monotonic() + SECONDS
    while len(outcomes) < NUMBERED:
        command = [sys.executable, "-m", "tests.files.test_fuzz", name, str(folder), str(len(outcomes))]
        child = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=deadline - time.monotonic(),
        )
        lines = [line.split(" ", 1) for line in child.stdout.splitlines()]
        outcomes.update((int(number), result) for number, result in lines)
        assert child.returncode <= 0, child.stderr
        assert child.returncode == 0 or lines[-1][1] == "begun"
    counts = Counter(outcomes.values())
    assert set(counts) <= {"read", "refused", "begun"}, counts
    assert counts["read"] > 0
    assert counts["refused"] > NUMBERED // 10
    assert counts["begun"] <= NUMBERED // 20, "more files end the process than is the library's share"


def test_the_record_of_the_fuzzing_has_no_outcome_but_those_that_are_promised() -> None:
    """`python -m benchmarks.fuzz` wrote it; a library in C ended the process on a few files at most."""
    record = json.loads((Path(fuzz.__file__).parent / "fuzz.json").read_text())
    assert record["inputs"] == sum(each["inputs"] for each in record["files"]) >= 100_000
    assert {each["name"] for each in record["files"]} == set(fuzz.subjects())
    for each in record["files"]:
        assert each["read"] + each["refused"] + each["ended"] == each["inputs"]
        assert each["read"] > 0
        assert not each["other"]
        assert each["ended"] <= each["inputs"] // 100


def test_the_command_counts_what_ends_hangs_and_is_no_word_of_ours() -> None:
    tally = fuzz.Tally("x")
    for number, result in enumerate(["read", "refused", "begun", "hung", "ZeroDivisionError()", "read"]):
        tally.add(number, result)
    assert (tally.inputs, tally.read, tally.refused, tally.ended, tally.hung) == (6, 2, 1, 1, 1)
    assert tally.other == {"ZeroDivisionError()": [4]}


def test_the_damage_follows_from_seed_name_and_number() -> None:
    data = bytes(range(256))
    found = [
        fuzz.damaged(data, *where)
        for where in ((0, "x", 1), (0, "x", 1), (1, "x", 1), (0, "y", 1), (0, "x", 2))
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_a_few_files_are_tried_by_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["--inputs", "40", "--only", "x.npy", "pairs.csv", "--out", str(tmp_path / "fuzz.json")]
    assert fuzz.main(arguments) == 0
    record = json.loads((tmp_path / "fuzz.json").read_text())
    assert [(each["name"], each["inputs"]) for each in record["files"]] == [("x.npy", 20), ("pairs.csv", 20)]
    assert "pairs.csv" in capsys.readouterr().out


def random_damage(number: int) -> dict[str, Any]:
    """Return damage like that which hypothesis draws, the same on every machine."""
    draw = random.Random(number)
    cut = draw.choice([POSITIONS] * 4 + [draw.randrange(POSITIONS)])
    masks = [draw.choice([1 << draw.randrange(8), draw.randint(1, 255)]) for _ in range(draw.randint(0, 8))]
    return {"cut": cut, "flips": [(draw.randrange(POSITIONS), mask) for mask in masks]}


def main(name: str, folder: Path, first: int) -> None:
    data = intact(folder / name)
    for number in range(first, NUMBERED):
        sys.stdout.write(f"{number} begun\n")
        sys.stdout.flush()
        # A new name each time: HDF5 takes a file in the place of an open one for the same.
        result = outcome(folder / f"damaged-{number}-{name}", damaged(data, **random_damage(number)))
        sys.stdout.write(f"{number} {result}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
