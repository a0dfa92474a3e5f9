"""The times of the losses by both engines, and of the code that users write instead."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align_uniform import contrastive_loss, uniform_loss
from benchmarks.case import Operation
from benchmarks.gpu import formulas
from benchmarks.gpu.item import Item, LeftOut, Record
from benchmarks.gpu.session import Session, name_of, serves
from benchmarks.gpu.turns import Contestant, compare
from benchmarks.operations import value, value_and_gradient

MAIN = 128
"""The number of features of the rows that are measured first."""
TAU = 0.1
SECONDS = 0.5
"""The time for the turns of one size; large ones take longer."""

WHATS = {"value + gradient": True, "value": False}
"""Whether there is a gradient, by the name of the computation."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that are measured."""

    features: int
    rows: tuple[int, ...]
    """The numbers of rows of `features` features."""
    widths: tuple[int, ...]
    """Other numbers of features, measured with `some` rows first."""
    some: tuple[int, ...]
    contrastive: tuple[int, ...]
    """The numbers of rows of a batch whose other rows are the negatives."""
    queue: tuple[int, int]
    """The numbers of rows of a batch, and of the queue of its negatives."""
    flex: tuple[int, ...]
    """The numbers of rows that FlexAttention is timed with, compiled for each of them."""
    dense: int
    """The largest number of rows for the compiled formula, which keeps the matrix of all pairs."""


FULL = Sizes(
    features=MAIN,
    rows=tuple(2**power for power in range(7, 18)),
    widths=(512, 768, 64),
    some=(512, 4096, 16384, 65536),
    contrastive=(256, 1024, 4096, 16384),
    queue=(256, 65536),
    flex=(4096, 16384, 65536),
    dense=16384,
)
QUICK = Sizes(
    features=16,
    rows=(32, 64),
    widths=(1030,),
    some=(32,),
    contrastive=(32,),
    queue=(16, 64),
    flex=(256,),
    dense=32,
)


def items(session: Session) -> list[Item]:
    """Return all comparisons, the most telling first: uniformity, contrastive, Flex, other sizes."""
    sizes = QUICK if session.quick else FULL
    later = tuple(n for n in sizes.rows if n not in sizes.some)
    found = _uniform_items(session, sizes, (sizes.features, *sizes.widths), sizes.some)
    for dtype, n in itertools.product(session.dtypes, sizes.contrastive):
        found.append(
            _item("contrastive, in batch", n, sizes.features, dtype, functools.partial(_in_batch, session))
        )
    for dtype in session.dtypes:
        comparison = functools.partial(_queue, session, sizes.queue[1])
        found.append(_item("contrastive, queue", sizes.queue[0], sizes.features, dtype, comparison))
    for n, dtype in itertools.product(sizes.flex, session.dtypes):
        found.append(
            _item("uniform, FlexAttention", n, sizes.features, dtype, functools.partial(_flex, session))
        )
    return found + _uniform_items(session, sizes, (sizes.features, *sizes.widths), later)


def _uniform_items(session: Session, sizes: Sizes, widths: Sequence[int], rows: Sequence[int]) -> list[Item]:
    comparison = functools.partial(_uniform, session, sizes.dense)
    cases = itertools.product(widths, session.dtypes, rows, WHATS)
    return [_item("uniform", n, m, dtype, comparison, what=what) for m, dtype, n, what in cases]


Comparison = Callable[[bool, int, int, torch.dtype], Record]


def _item(
    loss: str, n: int, m: int, dtype: torch.dtype, comparison: Comparison, *, what: str = "value + gradient"
) -> Item:
    sizes: Record = {"loss": loss, "what": what, "n": n, "m": m, "dtype": name_of(dtype)}

    def run() -> Record:
        return sizes | comparison(WHATS[what], n, m, dtype)

    return Item(f"{loss}, {what}, N={n}, m={m}, {name_of(dtype)}", run)


def _uniform(
    session: Session, largest_dense: int, gradient: bool, n: int, m: int, dtype: torch.dtype
) -> Record:
    x = session.rows(n, m, dtype).requires_grad_(gradient)
    contestants = ours(session, functools.partial(_run, gradient, uniform_loss, x), x)
    reasons = {}
    if (needed := formulas.two_lines_bytes(n, m, gradient=gradient)) <= _memory(session):
        contestants.append(Contestant("two lines", _run(gradient, formulas.two_lines, x)))
    else:
        reasons["two lines"] = f"would take {needed / 2**30:.0f} GiB"
    if session.on_gpu and m in (QUICK.features, MAIN) and n <= largest_dense:
        contestants.append(
            Contestant("compiled", _run(gradient, lambda x: _compiled_dense(m, dtype, gradient)(x), x))
        )
    record = _compare(session, contestants, dtype)
    record["left_out"] |= reasons
    return record


def _in_batch(session: Session, gradient: bool, n: int, m: int, dtype: torch.dtype) -> Record:
    x, y = (session.rows(n, m, dtype, seed=seed).requires_grad_(gradient) for seed in range(2))
    contestants = ours(session, functools.partial(_run, gradient, _contrastive, x, y), x)
    contestants.append(
        Contestant("cross-entropy", _run(gradient, lambda x, y: formulas.cross_entropy(x, y, TAU), x, y))
    )
    return _compare(session, contestants, dtype)


def _contrastive(x: Tensor, y: Tensor, queue: Tensor | None = None) -> Tensor:
    return contrastive_loss(x, y, TAU, negatives=queue)


def _queue(session: Session, length: int, gradient: bool, n: int, m: int, dtype: torch.dtype) -> Record:
    x, y, queue = (session.rows(rows, m, dtype, seed=seed) for seed, rows in enumerate((n, n, length)))
    x.requires_grad_(gradient)
    contestants = ours(session, functools.partial(_run, gradient, _contrastive, x, y, queue), x)
    theirs = _run(gradient, lambda x, y, queue: formulas.queue_cross_entropy(x, y, TAU, queue), x, y, queue)
    return {"queue": length} | _compare(session, [*contestants, Contestant("cross-entropy", theirs)], dtype)


def _flex(session: Session, gradient: bool, n: int, m: int, dtype: torch.dtype) -> Record:
    session.needs_gpu()
    x = session.rows(n, m, dtype).requires_grad_(gradient)
    contestants = ours(session, functools.partial(_run, gradient, uniform_loss, x), x)
    record = _compare(
        session, [*contestants, Contestant("FlexAttention", _run(gradient, formulas.flex, x))], dtype
    )
    if (why := record["left_out"].get("FlexAttention")) is not None:
        raise LeftOut(f"FlexAttention: {why}")
    return record


def ours(session: Session, call: Callable[[], Operation], x: Tensor) -> list[Contestant]:
    """Return our call by every engine that serves these rows."""
    return [Contestant(engine, call(), engine) for engine in session.engines if serves(engine, x)]


def _run(gradient: bool, loss: Callable[..., Tensor], *operands: Tensor) -> Operation:
    return (value_and_gradient if gradient else value)(loss, *operands)


def _compare(session: Session, contestants: list[Contestant], dtype: torch.dtype) -> Record:
    return compare(session, contestants, dtype, 0.01 if session.quick else SECONDS)


@functools.cache
def _compiled_dense(m: int, dtype: torch.dtype, gradient: bool) -> Callable[[Tensor], Tensor]:
    """Return the formula compiled for any number of rows.

    It is first called with N other than m, or it would serve N = m alone. A compilation that fails is not
    tried again.
    """
    compiled: Callable[[Tensor], Tensor] = torch.compile(formulas.dense_log_sum, dynamic=True)
    x = (
        torch.nn.functional.normalize(torch.randn(320, m, device="cuda"), dim=1)
        .to(dtype)
        .requires_grad_(gradient)
    )
    try:
        _run(gradient, compiled, x)()
    except Exception as error:
        why = f"compilation failed: {error}"

        def failed(x: Tensor) -> Tensor:
            raise RuntimeError(why)

        return failed
    return lambda x: compiled(x) - formulas.log_pairs(x)


def _memory(session: Session) -> float:
    """Return the bytes that may be taken at a time."""
    if not session.on_gpu:
        return 2.0**30
    torch.cuda.empty_cache()
    return 0.85 * torch.cuda.mem_get_info()[0]
