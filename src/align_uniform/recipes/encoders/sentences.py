"""Encoders of texts: models of sentence-transformers, from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform._extras import needs
from align_uniform._messages import counted, listed, one_line, shortened
from align_uniform._progress import progress_bar
from align_uniform.recipes.encoders.features import agreed
from align_uniform.recipes.encoders.options import SENTENCE_TRANSFORMERS

SPECIAL = 8
"""Tokens that a model adds to a text, at most; all others stand for at least one byte."""

AT_ONCE = 1024
"""The number of texts whose tokens are counted at a time."""


class SentenceEncoder:
    """A model of sentence-transformers, as an encoder of texts: `encoder.encode(texts)`.

    Args:
        model: a `SentenceTransformer`, which is the attribute `model`.

    Example:
        >>> from align_uniform import load_encoder
        >>> encoder = load_encoder("sentence-transformers:all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> encoder.encode(["A cat.", "A dog."]).shape, encoder.max_length  # doctest: +SKIP
        (torch.Size([2, 384]), 256)
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def max_length(self) -> int | None:
        """The number of tokens of a text that the model reads; None if it reads all."""
        length = self.model.max_seq_length
        return None if length is None or not math.isfinite(length) else int(length)

    def encode(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 64,
        progress: bool = False,
        distributed: bool = False,
    ) -> Tensor:
        """Return the features of texts, [N, m], on the CPU, as `model.encode` computes them.

        Args:
            texts: the texts. A model reads the first `max_length` tokens of each.
            prompt_name: name of one of the model's own prompts, which is put before each text.
            prompt: text that is put before each text, in place of one of the model's own.
            batch_size: number of texts that are encoded at a time, the longest first.
            progress: whether to draw a bar on stderr.
            distributed: whether all processes call this with the same texts, and share the work.

        Raises:
            ValueError: an item is no text, or the model has no prompt of that name.
        """
        if isinstance(texts, str):
            raise ValueError(f"texts must be a list of texts, got {shortened(repr(texts))}; write [text].")
        chosen = list(texts)
        if strange := [row for row, text in enumerate(chosen) if not isinstance(text, str)]:
            got = shortened(repr(chosen[strange[0]]))
            raise ValueError(f"texts must be texts, got {got} in row {strange[0]}, counted from 0.")
        self.check_prompt(prompt_name, prompt)
        world = ranks.world_size() if distributed else 1
        batches = _batches(chosen, batch_size)[ranks.rank() if distributed else 0 :: world]
        total, parts = sum(_work(chosen[row]) for rows in batches for row in rows), []
        with progress_bar("texts", total, shown=progress and ranks.rank() == 0) as advance:
            for rows in batches:
                part = [chosen[row] for row in rows]
                found = self.model.encode(
                    part,
                    prompt_name=prompt_name,
                    prompt=prompt,
                    batch_size=batch_size,
                    show_progress_bar=False,
                    convert_to_tensor=True,
                )
                parts.append(found if found.dtype == torch.float64 else found.float())
                advance(sum(map(_work, part)))
        places = torch.tensor([row for rows in batches for row in rows], dtype=torch.long)
        return _in_order(parts, places, self.model.device if world > 1 else None)

    def check_prompt(self, prompt_name: str | None, prompt: str | None) -> None:
        """Refuse a name that none of the model's prompts has, and a second prompt.

        Raises:
            ValueError: the model has no such prompt, or both are given.
        """
        if prompt_name is None:
            return
        if prompt is not None:
            raise ValueError("prompt_name and prompt exclude each other; leave one of them out.")
        if prompt_name not in self.model.prompts:
            has = listed(self.model.prompts) if self.model.prompts else "none; leave it out, or give prompt"
            raise ValueError(
                f"prompt_name must be one of the model's prompts, got {prompt_name!r}; it has {has}."
            )

    def cut(self, texts: Sequence[str], *, prompt_name: str | None = None, prompt: str | None = None) -> int:
        """Return how many texts have more tokens than the model reads; the others it reads to their end.

        Args:
            texts: the texts.
            prompt_name: name of the prompt, as in `encode`.
            prompt: the prompt, as in `encode`.
        """
        tokenizer, limit = getattr(self.model[0], "tokenizer", None), self.max_length
        if limit is None or not callable(tokenizer):
            return 0
        name = prompt_name or self.model.default_prompt_name
        before = (self.model.prompts.get(name, "") if name else "") if prompt is None else prompt
        whole = [before + text for text in texts]
        long = [text for text in whole if len(text.encode()) + SPECIAL > limit]
        count = 0
        for start in range(0, len(long), AT_ONCE):
            tokens = tokenizer(long[start : start + AT_ONCE], truncation=False, padding=False, verbose=False)
            count += sum(len(each) > limit for each in tokens["input_ids"])
        return count

    def of_cut(self, cut: int, count: int) -> str:
        """Return the sentence about texts that are cut; nothing if there are none.

        Args:
            cut: how many are cut.
            count: how many there are in all.
        """
        read = counted(self.max_length or 0, "token")
        if not cut:
            return ""
        return (
            f"{cut:,} of {counted(count, 'text')} {'has' if cut == 1 else 'have'} more than the {read} that "
            "the encoder reads (max_seq_length); the rest is not read."
        )


def load_sentence_encoder(name: str, *, device: str | torch.device | None = "cpu") -> SentenceEncoder:
    """Return the encoder of a folder of sentence-transformers, or of a name on the Hugging Face Hub.

    A name is downloaded once; with HF_HUB_OFFLINE=1 in the environment it is looked for on this machine
    alone. No code that comes with a model is executed.

    Args:
        name: path of a folder that sentence-transformers or transformers has written, or a name on the Hub.
        device: the device that computes.

    Raises:
        OSError: there is no such folder, or the model cannot be fetched or read.
        ModuleNotFoundError: sentence-transformers is missing.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() and (folder.exists() or _is_path(name)):
        raise FileNotFoundError(
            f"there is no folder {name}; give the folder of a model, or its name on the Hugging Face Hub, "
            f"such as {SENTENCE_TRANSFORMERS}all-MiniLM-L6-v2."
        )
    with needs("sentence-transformers"):
        from sentence_transformers import SentenceTransformer
    try:
        with _without_bars():
            model = SentenceTransformer(str(folder) if folder.is_dir() else name, device=str(device))
    except Exception as error:  # of any library that opens, fetches or builds a part of the model
        raise OSError(_not_loaded(name, folder, error)) from error
    return SentenceEncoder(model)


def load_on_all_ranks(name: str, device: str | torch.device) -> SentenceEncoder:
    """Return the encoder on every process; one of them downloads it for all."""
    if ranks.rank() == 0:
        encoder = load_sentence_encoder(name, device=device)
    ranks.barrier()
    return encoder if ranks.rank() == 0 else load_sentence_encoder(name, device=device)


def _is_path(name: str) -> bool:
    """Return whether a name can be nothing but a path: names on the Hub are NAME or OWNER/NAME."""
    return name.startswith((".", "~", os.sep)) or name.count("/") > 1 or os.sep == "\\" in name


def _not_loaded(name: str, folder: Path, error: Exception) -> str:
    """Return why there is no model, and what to do, in one line."""
    reason = one_line(str(error) or type(error).__name__).rstrip(".")
    if folder.is_dir():
        return (
            f"{name} could not be read as a model of sentence-transformers ({reason}); give another folder."
        )
    is_offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    why = "HF_HUB_OFFLINE forbids to fetch it" if is_offline else f"it could not be fetched ({reason})"
    return (
        f"there is no folder {name}, and no model of that name on this machine: {why}; give the path of a "
        f"folder that has it, as in {SENTENCE_TRANSFORMERS}./{name.rpartition('/')[2]}."
    )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Let transformers draw no bar while it reads weights; downloads draw theirs."""
    from transformers.utils import logging

    were_drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_drawn:
            logging.enable_progress_bar()


def _batches(texts: Sequence[str], size: int) -> list[list[int]]:
    """Return the rows of texts in batches, the longest first.

    A batch also ends where texts are half as long as its first, to which they would be padded.
    """
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}.")
    found: list[list[int]] = []
    for row in sorted(range(len(texts)), key=lambda row: -len(texts[row])):
        if not found or len(found[-1]) == size or 2 * _work(texts[row]) < _work(texts[found[-1][0]]):
            found.append([])
        found[-1].append(row)
    return found


def _work(text: str) -> int:
    """Return the work that a text takes, in characters."""
    return len(text) + SPECIAL


def _in_order(parts: list[Tensor], places: Tensor, device: torch.device | None) -> Tensor:
    """Return the rows of all processes in the order of their texts.

    Args:
        parts: the rows of this process, in batches.
        places: the numbers of their texts.
        device: the device on which all processes exchange rows, also those without any; None for one process.
    """
    rows = torch.cat([part.to(parts[0].device) for part in parts]) if parts else torch.empty(0, 0)
    if device is not None:
        dim, dtype = agreed(rows)
        rows = rows if len(rows) else torch.empty(0, dim, dtype=dtype)
        rows, places = ranks.gather_rows(rows.to(device).clone()), ranks.gather_rows(places.to(device))
    ordered = torch.empty(rows.shape, dtype=rows.dtype)
    ordered[places.cpu()] = rows.cpu()
    return ordered
