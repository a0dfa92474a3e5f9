"""No command writes a file that it reads, or one file twice; every option of a file says which it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import pytest

from align_uniform._apart import Reads, Writes, check_apart, declared_by, is_same_file
from align_uniform._options import choices_of
from align_uniform.cli import COMMANDS, main
from align_uniform.cli.command import named
from align_uniform.recipes.images.folders import is_picture

NO_FILES = {
    "accuracy", "arch", "columns", "data", "device", "fail_if", "layer", "name", "names", "preset", "prompt",
    "prompt_name", "score", "split", "weights_sha256",
}  # fmt: skip
"""The options of text that are no files."""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_that_may_name_a_file_says_whether_it_is_read_or_written(words: tuple[str, ...]) -> None:
    kind = named(COMMANDS[words].options)
    hints, choices = get_type_hints(kind), choices_of(kind)
    texts = {
        each.name
        for each in fields(kind)
        if each.name not in choices and any(word in str(hints[each.name]) for word in ("'str'", "Path"))
    }
    declared = declared_by(kind)
    read = {name for each in declared if isinstance(each, Reads) for name in each.options}
    written = {each.option for each in declared if isinstance(each, Writes)}
    exempt = NO_FILES | ({"full"} if words == ("imagenet-subset",) else set())  # which has rules of its own
    assert texts - exempt <= read | written
    assert read | written <= {each.name for each in fields(kind)}
    assert not read & written


@dataclass(frozen=True)
class CopyOptions:
    """Options of a command that reads and writes."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("features", "more")),
        Reads(("images",), within=is_picture),
        Writes("out"),
        Writes("log"),
    )
    features: str | None = None
    more: tuple[str, ...] = ()
    images: Path | None = None
    out: Path | None = None
    log: str | None = None


def refusal(**values: Any) -> str:
    try:
        check_apart(CopyOptions(**values))
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file x.npz, a link to it, a second name of it, and a folder of a picture."""
    monkeypatch.chdir(tmp_path)
    Path("x.npz").write_text("precious")
    Path("link.npz").symlink_to("x.npz")
    os.link("x.npz", "hard.npz")
    Path("images/cats").mkdir(parents=True)
    for name in ("1.png", "notes.txt"):
        (Path("images/cats") / name).touch()
    Path("pictures").symlink_to("images")
    return tmp_path


@pytest.mark.parametrize("out", ["x.npz", "./x.npz", "images/../x.npz", "link.npz", "hard.npz"])
@pytest.mark.parametrize("read", ["x.npz", "x.npz::x", "link.npz::x", "hard.npz", "x*.npz"])
def test_a_file_that_is_read_is_not_written_under_any_of_its_names(out: str, read: str) -> None:
    said = refusal(features=read, out=Path(out))
    assert said.startswith(f"{Path(out)} of --out is ")
    assert said.endswith(".npz of --features, which is read; give --out another name.")
    assert refusal(more=("y.npz", read), log=out).startswith(f"{Path(out)} of --log is ")
    assert refusal(features=read, out=Path("y.npz"), log="log.txt") == ""


def test_a_file_within_a_folder_that_is_read_is_not_written() -> None:
    for folder in ("images", "pictures", "images/cats"):
        said = refusal(images=Path(folder), out=Path("images/cats/1.png"))
        assert said == (
            f"images/cats/1.png of --out lies in {folder} of --images and is read with it; give --out "
            "another name."
        )
    assert refusal(images=Path("images"), out=Path("images/cats/notes.txt")) == ""
    assert refusal(images=Path("images"), out=Path("images/cats/2.png")) == ""  # which is new


def test_one_file_is_not_written_twice() -> None:
    assert refusal(out=Path("y"), log="./y") == (
        "y would be written for both --out and --log; give --log another name."
    )
    Path("z").symlink_to("y")
    assert "written for both" in refusal(out=Path("y"), log="z")
    assert refusal(out=Path("y"), log="images/y") == ""


def test_paths_that_do_not_exist_may_be_one_file() -> None:
    assert is_same_file(Path("a"), Path("images/../a"))
    assert not is_same_file(Path("a"), Path("b"))


SAVED = "--train-features x.npy --train-labels l.txt --test-features y.npy --test-labels m.txt"
ENCODER = "--encoder run --data digits"
CONTESTED = [
    ("measure x.npy --rows-out {}", "x.npy"),
    ("measure x.npy --labels l.npz --rows-out {}", "l.npz"),
    ("measure x.npy --center c.npz --rows-out {}", "c.npz"),
    ("measure --encoder run --images images --features-out {}", "run/encoder.pth"),
    ("measure --encoder run/encoder.pth --images images --report {}", "run/encoder.json"),
    ("measure --encoder timm:run --images images --report {}", "run/model.safetensors"),
    ("measure --encoder run --images images --report {}", "images/1.png"),
    ("measure --encoder run --weights w.pth --images images --report {}", "w.pth"),
    ("compare a.json x.npy --report {}", "a.json"),
    ("compare a.json x.npy --report {}", "a.npz"),
    ("compare x.npy y.npy --positives p.npy q.npy --figure p --report {}", "p.png"),
    ("compare --encoder run/encoder.pth --encoder published --images images --report {}", "images/1.png"),
    ("drift x.npy y.npy --ids i.npz --rows-out {}", "i.npz"),
    ("encode run images --out {}", "run/encoder.safetensors"),
    ("encode sentence-transformers:run t.parquet --out {}", "t.parquet"),
    ("encode sentence-transformers:run t.txt --out {}", "run/model.safetensors"),
    (f"evaluate knn {SAVED} --out {{}}", "l.txt"),
    (f"evaluate knn {ENCODER} --out {{}}", "run/encoder.json"),
    (f"evaluate knn {ENCODER[:-7]} cifar10 --root . --out {{}}", "cifar-10-batches-py/data_batch_1"),
    (f"evaluate linear {SAVED} --protocol exact --out {{}}", "m.txt"),
    (f"evaluate linear {ENCODER} --classifier c.pt --out {{}}", "c.pt"),
    (f"evaluate linear {ENCODER} --state s.pt --out {{}}", "s.pt"),
    ("evaluate linear --encoder kept/model_best.pth.tar --layer backbone --checkpoints kept --out {}", "s"),
    ("pretrain moco --start {}", "results/imagenet-100-moco-align3alpha2_unif1t3/encoder.pth"),
    ("imagenet-subset full {} --classes classes.txt", "classes.txt"),
]


@pytest.mark.parametrize(("typed", "contested"), CONTESTED, ids=str)
def test_no_command_writes_what_it_reads_even_if_it_may_replace_files(
    typed: str, contested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (contested, "run/encoder.pth", "kept/model_best.pth.tar", "images/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("precious")
    if not contested.startswith("a.json"):
        Path("a.json").write_text(json.dumps({"provenance": {"rows": "a.npz"}}))
    before = Path(contested).read_bytes()
    force = [] if typed.startswith("pretrain") or "--state" in typed else ["--force"]
    assert main([*typed.format(contested).split(), *force]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("align-uniform: ")
    assert "another name." in printed.err
    assert "which is read" in printed.err or "is read with it" in printed.err or "for both" in printed.err
    assert printed.err.count("\n") == 1
    assert Path(contested).read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ("measure x.npy --rows-out options.yaml --force", "--rows-out"),
        ("drift x.npy y.npy --rows-out options.yaml --force", "--rows-out"),
        (f"evaluate knn {SAVED} --out options.yaml --force", "--out"),
        ("encode run images --out options.yaml --force", "--out"),
        ("demo --out .", "--out"),
    ],
)
def test_the_file_of_options_is_not_written(
    typed: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "results.json" if typed.startswith("demo") else "options.yaml"
    Path(name).write_text("force: true\n")
    assert main([*typed.split(), "--config", name]) == 1
    assert f"{name} of {option} is {name} of --config, which is read" in capsys.readouterr().err
    assert Path(name).read_text() == "force: true\n"
