"""Options of evaluation: what does not go together is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align_uniform.recipes.judge.options import SAVED, EvaluateOptions, KnnOptions, LinearOptions

ENCODER: dict[str, Any] = {"encoder": Path("encoder.pth")}
FEATURES: dict[str, Any] = {name: Path(name) for name in SAVED}


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (EvaluateOptions, ENCODER | {"size": 0}, "size must be at least 1, got 0"),
        (EvaluateOptions, ENCODER | {"workers": -1}, "workers must not be negative, got -1"),
        (EvaluateOptions, ENCODER | {"head": "deep"}, "head must be one of 'linear', 'mlp', got 'deep'"),
        (EvaluateOptions, ENCODER | {"mean": (0.5,)}, "one number for each channel, got 1 and 0"),
        (EvaluateOptions, {}, "give an encoder, or all four of train_features, .* and test_labels"),
        (EvaluateOptions, ENCODER | {"train_features": Path()}, "give an encoder, or all four"),
        (KnnOptions, ENCODER | {"k": 0}, "k must be at least 1, got 0"),
        (KnnOptions, ENCODER | {"weight": "softmx"}, "weight must be one of 'votes', 'softmax'"),
        (KnnOptions, ENCODER | {"tau": 0}, "tau must be a finite number above 0"),
        (LinearOptions, ENCODER | {"l2": -1}, "l2 must be a finite number above 0, got -1"),
        (LinearOptions, ENCODER | {"epochs": 0}, "epochs must be at least 1, got 0"),
        (LinearOptions, ENCODER | {"resume": "yes"}, "resume must be one of 'auto', 'never', got 'yes'"),
        (LinearOptions, ENCODER | {"checkpoints": Path()}, "for the layer backbone .*, got layer output"),
        (LinearOptions, FEATURES, "which saved features cannot give; use the protocol exact"),
        (
            LinearOptions,
            FEATURES | {"protocol": "exact", "classifier": Path()},
            "classifier needs the encoder whose features it classifies",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(kind: type, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_an_encoder_or_files_of_features_are_enough() -> None:
    assert KnnOptions(**ENCODER).k == 5
    assert 1 <= KnnOptions(**ENCODER).loading_processes <= 4
    assert KnnOptions(**ENCODER, workers=0).loading_processes == 0
    assert LinearOptions(**FEATURES, protocol="exact").encoder is None
