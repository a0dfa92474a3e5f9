"""Sentences that say the same in two ways, and a small BERT whose words are theirs; nothing is downloaded."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

ANIMALS = ("cat", "dog", "horse", "fox", "owl", "hare", "goat", "crow")
DEEDS = (("sleeps", "is asleep"), ("eats", "is eating"), ("runs", "is running"), ("waits", "is waiting"))
PLACES = (("in the barn", "inside the barn"), ("by the river", "near the river"), ("at home", "in its house"))

PAIRS = [
    (f"the {animal} {deed[0]} {place[0]}", f"{place[1]} a {animal} {deed[1]}")
    for animal, deed, place in itertools.product(ANIMALS, DEEDS, PLACES)
]
"""Each of 96 sentences, and another with its meaning."""


def bert_in(folder: Path) -> Path:
    """Write a BERT of two layers and 16 features with random weights, and its tokenizer."""
    words = sorted({word for pair in PAIRS for text in pair for word in text.split()})
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8")
    BertTokenizer(str(vocabulary)).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(
            BertConfig(
                vocab_size=5 + len(words),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=32,
            )
        ).save_pretrained(folder)
    return folder
