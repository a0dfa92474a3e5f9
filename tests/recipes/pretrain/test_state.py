"""Checkpoints: torn, missing, or of a run with other options or images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align_uniform.recipes.pretrain import state as state_files
from tests.recipes.pretrain.two_view_worker import options, same, train, trainer


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(options(tmp_path, steps=6))
    last = options(tmp_path).folder / state_files.LAST
    last.write_bytes(last.read_bytes()[:1000])
    same(train(options(tmp_path)), whole)
    assert "The one before it, checkpoint.before.pt, is used." in capsys.readouterr().err


def test_a_missing_last_checkpoint_is_no_loss(tmp_path: Path, whole: dict[str, Any]) -> None:
    train(options(tmp_path, steps=6))
    (options(tmp_path).folder / state_files.LAST).unlink()
    same(train(options(tmp_path)), whole)


def test_checkpoints_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    train(options(tmp_path, steps=1))
    last = options(tmp_path).folder / state_files.LAST
    last.write_bytes(b"not a checkpoint")
    with pytest.raises(
        ValueError, match=r"checkpoint\.pt must be a checkpoint .*; it cannot be read .* to start again"
    ):
        trainer(options(tmp_path))


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    train(options(tmp_path, steps=1))
    with pytest.raises(
        ValueError, match=r"holds a run with other options or images: lr was 0\.2 and is 0\.3\. Restore them"
    ):
        trainer(options(tmp_path, lr=0.3))
    with pytest.raises(ValueError, match="has a run already; use --resume auto"):
        trainer(options(tmp_path, resume="never"))
    trainer(options(tmp_path, workers=1, log_every=7))  # these change nothing that is learned
