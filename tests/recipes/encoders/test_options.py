"""Options of encoding: what does not go together is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align_uniform.recipes.encoders.options import EncodeOptions
from align_uniform.recipes.images.workers import default_workers


@pytest.mark.parametrize(
    ("encoder", "options", "message"),
    [
        ("e.pth", {"weights": "w.pth"}, "but e.pth is a file of weights; leave weights out"),
        (
            "published",
            {"arch": "resnet50", "dim": 8},
            "the encoder of a file takes arch and dim; published has",
        ),
        ("torchvision:resnet18", {"head": "mlp"}, "only the encoder of a file takes head; torchvision:"),
        ("e.pth", {"views_preset": "digits"}, "views_preset must be one of 'stl10', .* got 'digits'"),
        ("e.pth", {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ("e.pth", {"seed": -1}, "seed must not be negative, got -1"),
        ("e.pth", {"dim": 0}, "dim must be at least 1, got 0"),
        ("e.pth", {"std": (0.0,), "mean": (0.5,)}, r"std must have finite numbers above 0, got \[0.0\]"),
    ],
)
def test_what_does_not_go_together_is_refused(encoder: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncodeOptions(encoder, Path("images"), **options)


def test_an_encoder_is_of_a_file_unless_it_has_another_name() -> None:
    found = [
        EncodeOptions(encoder, Path("images")).is_file
        for encoder in ("run", "published", "hub:imagenet_resnet50_encoder", "torchvision:resnet18")
    ]
    assert found == [True, False, False, False]


def test_there_are_no_more_workers_than_cores_unless_they_are_given() -> None:
    options = EncodeOptions("run", Path("images"))
    assert options.loading_processes == default_workers(at_most=4)
    assert EncodeOptions("run", Path("images"), workers=9).loading_processes == 9
