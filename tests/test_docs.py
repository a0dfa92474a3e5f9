"""Tests of the pages: their Python runs, their commands are understood, and their links lead somewhere."""

from __future__ import annotations

import io
import re
import runpy
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform import cli, measure
from align_uniform.cli.command import named
from align_uniform.cli.config import merged
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import EncoderCard, save_encoder
from align_uniform.recipes.images.statistics import STATISTICS
from tests.integrations.small_bert import PAIRS, bert_in

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if not {"_build", "gallery"} & set(path.parts)
}
RUN_ELSEWHERE = {
    "README.md": "tests/test_readme.py looks at what it prints",
    "docs/moco.md": "it fetches published weights; tests/recipes/encoders has files in their place",
    **{name: "tests/integrations runs it" for name in PAGES if name.startswith("docs/integrations/")},
}
"""Pages whose Python is not run here, and why."""

MEASURES = ("measure", "compare", "drift")
"""The commands that are run; the others train, or need weights from the network."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that pages speak of."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(120, 16, generator=generator)
    new = old + 0.3 * torch.randn(120, 16, generator=generator)
    for name, rows in {
        "old": old,
        "new": new,
        "baseline": old,
        "today": new,
        "features": old,
        "x": old,
    }.items():
        np.save(f"{name}.npy", rows.numpy())
        Path(f"{name}.txt").write_text("".join(f"text {i}\n" for i in range(120)), encoding="utf-8")
    wide = torch.randn(120, 300, generator=generator)
    np.save("features.npy", wide.numpy())
    np.save("other_view.npy", wide.numpy() + 0.1)
    for name, rows in {"old_view": old, "new_view": new, "y": old}.items():
        np.save(f"{name}.npy", (rows + 0.1 * torch.randn(120, 16, generator=generator)).numpy())
    np.savez("features.npz", features=old.numpy(), labels=np.arange(120) % 4)
    Path("sentences.txt").write_text("".join(f"sentence {i}\n" for i in range(120)), encoding="utf-8")
    pairs = "".join(f"sentence {i}\tsentence {i + 60}\t{i % 6}\n" for i in range(60))
    Path("sts.tsv").write_text(f"sentence1\tsentence2\tscore\n{pairs}", encoding="utf-8")
    Path("run.yaml").write_text("preset: imagenet\n", encoding="utf-8")
    return tmp_path


# ----------------------------------------------------------------------------------------------------- Python


def given(page: str) -> dict[str, Any]:
    """Return the names that a page says are there, and write the files of its examples."""
    generator = torch.Generator().manual_seed(0)
    x, y, x2, y2 = (torch.randn(80, 8, generator=generator) for _ in range(4))
    if page == "docs/measuring.md":
        Path("result.json").write_text(measure(x, y).to_json(), encoding="utf-8")
    if page == "docs/training.md":
        folder = Path("results/stl10-two-view-align1alpha2_unif1t2")
        encoder = build("small-conv", 128, size=64, channels=3)
        EncoderCard.of(encoder, STATISTICS["stl10"], "stl10").write(folder)
        save_encoder(encoder, folder)
        for name in ("cat", "dog"):
            Image.new("RGB", (96, 96)).save(f"{name}.jpg")
    if page == "docs/texts.md":
        Path("all-MiniLM-L6-v2").mkdir()
        bert_in(Path("all-MiniLM-L6-v2"))
    questions, answers = ([pair[side] for pair in PAIRS] for side in (0, 1))
    return {"x": x, "y": y, "x2": x2, "y2": y2, "questions": questions, "answers": answers}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python") and page not in RUN_ELSEWHERE]
)
def test_the_python_of_a_page_runs(page: str, desk: Path) -> None:
    names = given(page)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for code in blocks(page, "python"):
            exec(compile(code, str(desk / page), "exec"), names)


# --------------------------------------------------------------------------------------------------- commands


def commands(page: str) -> Iterator[tuple[list[str], str | None]]:
    """Yield the arguments of each command of ours on a page, and the file that its output goes to."""
    for block in blocks(page, "(?:sh|console|bash)"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            target = words[words.index(">") + 1] if ">" in words else None
            words = words[: words.index(">")] if ">" in words else words
            if words[:1] == ["align-uniform"]:
                yield words[1:], target
            elif words[:1] == ["torchrun"]:
                yield words[words.index("align_uniform") + 1 :], target


WITH_COMMANDS = [page for page in PAGES if any(True for _ in commands(page))]


@pytest.mark.parametrize("page", WITH_COMMANDS)
@pytest.mark.usefixtures("desk")
def test_every_command_of_a_page_is_understood(page: str) -> None:
    for arguments, _ in commands(page):
        words = cli._words(arguments)
        if words not in cli.COMMANDS:
            assert arguments[0].startswith("--"), arguments
            continue
        parser = cli.COMMANDS[words].parser(words)
        typed = parser.parse(arguments[len(words) :])
        configs, _ = typed.pop("config", []), typed.pop("print_config", False)
        kind = named(cli.COMMANDS[words].options)
        cli._options(kind, merged(kind, typed, configs), typed, parser)


@pytest.mark.parametrize("page", WITH_COMMANDS)
@pytest.mark.usefixtures("desk")
def test_every_command_that_measures_files_does(page: str) -> None:
    for arguments, target in commands(page):
        if arguments[0] in MEASURES and "--encoder" not in arguments:
            with redirect_stdout(io.StringIO()) as out:
                assert cli.main(arguments) in (0, 3), arguments
            if target is not None:
                Path(target).write_text(out.getvalue(), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ links


def anchors(page: str) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and MyST make them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if target == ROOT / "docs" / "gallery" / "index.rst":  # it is made when the pages are built
            continue
        assert target.exists(), f"{page}: {link}"
        name = target.resolve().relative_to(ROOT.resolve()).as_posix()
        assert not anchor or anchor in anchors(name), f"{page}: {link}"


# ---------------------------------------------------------------------------------------------------- gallery


@pytest.mark.parametrize(
    "script", sorted((ROOT / "examples" / "gallery").glob("plot_*.py")), ids=lambda path: path.stem
)
def test_every_script_of_the_gallery_draws_a_figure(script: Path, desk: Path) -> None:
    with torch.random.fork_rng():
        names = runpy.run_path(str(script))
    names["figure"].savefig(desk / "figure.png")
    assert (desk / "figure.png").stat().st_size > 5000
