"""The question whether rows are of unit norm, asked where nobody chose and where asking is free."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from types import FrameType

import torch
from torch import Tensor

from align_uniform.engine import routes

LARGEST_DEVIATION = 0.05
"""The deviation of a norm from 1 up to which rows are taken for unit rows.

Half precision moves a norm by 0.001, eight bits by about 0.01.
"""


@dataclass
class Asked:
    """The calls of losses for which nobody chose whether to normalise, in this process."""

    calls: int = 0
    """The number of calls. Rows are looked at in the calls 1, 2, 4, 8, ..., so that looking costs nothing."""
    warned: bool = False
    """Whether there was a warning; there is one at most."""


asked = Asked()


def is_wanted(loss: str, normalize: bool | None, **rows: Tensor | None) -> bool:
    """Return whether a loss divides rows by their norms: False if nobody chose.

    If nobody chose, and rows turn out to be far from unit norm, a warning says so, once in a process. Rows
    are looked at only where nobody waits for them: in eager mode, on the CPU.

    Args:
        loss: the name of the loss.
        normalize: the choice; None for none.
        rows: the rows by the names of their arguments.
    """
    if normalize is None and not torch.compiler.is_compiling() and not asked.warned:
        asked.calls += 1
        if asked.calls & (asked.calls - 1) == 0:
            _look(loss, rows)
    return bool(normalize)


def _look(loss: str, rows: dict[str, Tensor | None]) -> None:
    for name, z in rows.items():
        if z is None or not routes.may_ask(z) or torch._C._get_tracing_state():
            continue
        norms = torch.linalg.vector_norm(
            z.detach(), dim=-1, dtype=torch.promote_types(z.dtype, torch.float32)
        )
        norms = norms[norms > 0]  # rows of zeros are padding
        if not bool(((norms - 1).abs() > LARGEST_DEVIATION).any()):
            continue
        asked.warned = True
        warnings.warn(
            f"{loss} is meant for rows of norm 1, and takes them as they are; those of {name} have norms "
            f"from {float(norms.min()):.3g} to {float(norms.max()):.3g}. Pass normalize=True to divide rows "
            "by their norms, or normalize=False to keep them as they are; either ends this warning.",
            UserWarning,
            stacklevel=_callers_level(),
        )
        return


def _callers_level() -> int:
    """Return the `stacklevel`, for the function that calls this one, of the code that called the loss."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame):
        level, frame = level + 1, frame.f_back
    return level


def _is_inside(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in ("align_uniform", "torch")
