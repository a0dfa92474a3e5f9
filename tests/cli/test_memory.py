"""A command that runs out of memory says so in one line, with what to type instead."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from align_uniform._memory import amount_in, lacks_memory
from align_uniform.cli import COMMANDS, main, memory
from align_uniform.recipes.encoders.checkpoints import read_checkpoint
from align_uniform.recipes.encoders.options import ToEncodeOptions
from align_uniform.recipes.images.workers import LostWorkerError
from align_uniform.recipes.pretrain import moco, two_view

ON_A_GPU = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which 1.00 "
    "MiB is free."
)
SAVED = "--train-features x.npy --train-labels l.txt --test-features y.npy --test-labels m.txt"


class Huge(Dataset[torch.Tensor]):
    """Items that fit into no memory."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> torch.Tensor:
        self.make()
        raise AssertionError


def huge_array() -> object:
    return np.empty(2**56)


def huge_tensor() -> object:
    return torch.empty(2**60, device="cpu")


def error_of(make: Callable[[], object]) -> BaseException:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("make", [huge_array, huge_tensor])
@pytest.mark.parametrize("workers", [None, 0, 1])
def test_the_errors_of_numpy_and_torch_are_known_from_other_errors(
    make: Callable[[], object], workers: int | None
) -> None:
    error = error_of(make if workers is None else lambda: list(DataLoader(Huge(make), num_workers=workers)))
    assert lacks_memory(error), repr(error)
    assert amount_in(error).endswith("iB")


def test_other_errors_are_left_as_they_are() -> None:
    assert lacks_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    assert lacks_memory(torch.OutOfMemoryError(ON_A_GPU))
    assert amount_in(torch.OutOfMemoryError(ON_A_GPU)) == "20 MiB"
    for error in (OSError(errno.ENOSPC, "full"), ValueError("out of memory"), RuntimeError("shapes differ")):
        assert not lacks_memory(error)
        assert memory.told(error, ToEncodeOptions(encoder="run", items="photos", out=Path("x.npy"))) == ""


LACKING: list[tuple[str, str, list[str]]] = [
    ("measure x.npy", "give files of fewer rows", []),
    ("measure --encoder run --images photos", "--batch-size 64", ["--workers 0"]),
    ("measure --encoder sentence-transformers:m --texts t.csv --batch-size 9", "--batch-size 4", []),
    ("compare x.npy y.npy", "give files of fewer rows", []),
    ("compare --encoder run --encoder published --images photos", "by `align-uniform measure --encoder`", []),
    ("drift x.npy y.npy", "--test-rows 1000", []),
    ("drift x.npy y.npy --rotation-invariant", "give files of fewer rows", []),
    ("encode run photos --out f.npy", "--batch-size 64", ["--workers 0"]),
    ("encode run photos --out f.npy --batch-size 1 --workers 0", "close other programs", []),
    (f"evaluate knn {SAVED}", "give files of fewer rows", []),
    ("evaluate knn --encoder run", "--batch-size 128", ["--workers 0"]),
    ("evaluate linear --encoder run --batch-size 3", "--batch-size 1", ["--workers 0"]),
    ("pretrain two-view --preset stl10", "--batch-size 384", ["--workers 0"]),
    ("pretrain moco --preset imagenet --batch-size 96 --queue 960", "--batch-size 48", ["--workers 0"]),
    ("pretrain moco --preset imagenet --batch-size 75 --queue 750", "--batch-size 30", ["--workers 0"]),
    ("demo", "close other programs, or use a computer with more memory", []),
    ("evaluate compare a.json b.json", "close other programs", []),
    ("imagenet-subset full some --classes classes.txt", "close other programs", []),
]


def failing(words: str, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """Let a command end in an error, or do nothing."""

    def run(_: object) -> int:
        if error is not None:
            raise error
        return 0

    command = next(each for key, each in COMMANDS.items() if words.startswith(" ".join(key)))
    monkeypatch.setattr(command.run.replace(":", "."), run)


@pytest.fixture(autouse=True)
def nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("align_uniform.cli.require", lambda _: None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")


@pytest.mark.parametrize(("typed", "first", "others"), LACKING, ids=[typed for typed, _, _ in LACKING])
@pytest.mark.parametrize("make", [huge_array, huge_tensor])
def test_every_command_says_what_to_type_instead_and_that_is_taken(
    typed: str,
    first: str,
    others: list[str],
    make: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(typed, monkeypatch, error_of(make))  # type: ignore[arg-type]
    assert main(typed.split()) == 1
    said = capsys.readouterr().err
    assert re.match(r"align-uniform: this computer has too little memory, where [\d.e+]+ [GP]iB were", said)
    assert first in said
    assert said.count("\n") == 1
    remedies = re.findall(r"add (--[a-z-]+ \S+?)(?=[,.] |\.\n)", said)
    assert remedies == [*([first] if first.startswith("--") else []), *others]
    failing(typed, monkeypatch, None)
    for remedy in remedies:
        assert main([*typed.split(), *remedy.split()]) == 0


def test_memory_of_a_gpu_can_be_left_for_that_of_the_computer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing("drift", monkeypatch, torch.OutOfMemoryError(ON_A_GPU))
    assert main(["drift", "x.npy", "y.npy"]) == 1
    assert capsys.readouterr().err == (
        "align-uniform: the device has too little memory, where 20 MiB were asked for at once; add "
        "--test-rows 1000, or add --device cpu, or give files of fewer rows, such as every tenth, "
        "rows[::10].\n"
    )
    assert main(["drift", "x.npy", "y.npy", "--device", "cpu"]) == 1
    assert "--device" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", [two_view, moco])
def test_a_run_that_has_begun_is_told_what_it_may_change(
    kind: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = two_view.options() if kind is two_view else moco.options("imagenet")
    options.folder.mkdir(parents=True)
    (options.folder / "checkpoint.pt").touch()
    typed = f"pretrain {options.recipe} --preset {options.preset}"
    failing(typed, monkeypatch, MemoryError())
    assert main(typed.split()) == 1
    said = capsys.readouterr().err
    assert f"add --batch-size {options.batch_size // 2} --out results-smaller (a run that has begun" in said
    assert ", or add --workers 0." in said


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("encode run photos --out f.npy", "add --workers 0."),
        ("evaluate knn --encoder run", "add --workers 0."),
        ("measure --encoder run --images photos", "add --workers 0."),
        (
            "compare --encoder run --encoder published --images photos",
            "with --workers 0 and --json, and compare",
        ),
    ],
)
def test_a_lost_process_is_one_line(
    typed: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(typed, monkeypatch, LostWorkerError("a process that reads images ended unexpectedly"))
    assert main(typed.split()) == 1
    said = capsys.readouterr().err
    assert said.startswith("align-uniform: a process that reads images ended unexpectedly, most")
    assert remedy in said
    assert said.count("\n") == 1


def test_an_error_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    failing("demo", monkeypatch, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["demo"])


def test_a_checkpoint_that_does_not_fit_into_memory_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "encoder.pth")
    error = error_of(huge_tensor)

    def load(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(RuntimeError, match="allocate"):
        read_checkpoint(tmp_path / "encoder.pth")
