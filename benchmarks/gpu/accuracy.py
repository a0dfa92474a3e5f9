"""The accuracy of losses, gradients and row sums, against float64 on the same device.

The bounds: values within `8 eps max(1, t R^2) + 1e-6`, gradients within `32 eps max(1, t R^2)` of their
largest entry, with float32's eps and R the largest norm. Gradients of half-precision rows are allowed 2e-5 at
least, and roundings to their dtype: one, or three where two gradients are added. For the contrastive loss, t
is 1 / (2 tau), and t R^2 becomes R^2 / tau.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform import contrastive_loss, uniform_loss
from align_uniform.measuring import row_sums
from align_uniform.measuring.populations import Population
from benchmarks.gpu import formulas
from benchmarks.gpu.item import Failed, Item, Record
from benchmarks.gpu.session import Engine, Session, computed_by, name_of, serves

EPS = torch.finfo(torch.float32).eps

RANGE = 80.0
"""The logarithm of the range of the row sums that are compared; far smaller ones may vanish beside others."""

SIZES = (
    (257, 128, 2.0),
    (1024, 128, 2.0),
    (257, 256, 2.0),
    (257, 64, 2.0),
    (1025, 128, 400.0),
    (1025, 128, 30.0),
    (4096, 128, 2.0),
    (2, 128, 2.0),
    (63, 128, 2.0),
    (257, 16, 2.0),
    (300, 100, 2.0),
    (1024, 256, 30.0),
    (257, 17, 400.0),
    (3001, 256, 400.0),
    (2049, 64, 400.0),
    (257, 300, 2.0),
    (1025, 768, 30.0),
)
"""The sizes N, m and t, the most telling first."""
QUICK_SIZES = ((33, 16, 2.0), (5, 20, 30.0), (17, 1030, 2.0))
FLOAT16_SIZES = ((257, 128, 2.0), (1025, 128, 30.0), (257, 256, 2.0), (257, 300, 2.0))


class Loss(NamedTuple):
    """A loss and its definition, each a function of the leaves and t."""

    ours: Callable[..., Tensor]
    definition: Callable[..., Tensor]
    leaves: tuple[str, ...]
    """The operands that it takes: x, y, queue, tau."""
    roundings: int = 1
    """The number of times that a gradient of half-precision rows is rounded to their dtype."""
    reach: float = 1.0
    """The factor of t R^2 in the bounds."""


LOSSES = {
    "within": Loss(uniform_loss, formulas.exact_uniformity, ("x",)),
    "negatives": Loss(
        lambda x, queue, t: uniform_loss(x, t, negatives=queue),
        lambda x, queue, t: formulas.exact_uniformity(x, t, queue),
        ("x", "queue"),
        3,
    ),
    "ids": Loss(
        lambda x, t: uniform_loss(x, t, ids=_ids(x)),
        lambda x, t: formulas.exact_uniformity(x, t, ids=_ids(x)),
        ("x",),
    ),
    "in batch": Loss(
        lambda x, y, t: contrastive_loss(x, y, 1 / (2 * t)),
        lambda x, y, t: formulas.cross_entropy(x, y, 1 / (2 * t)),
        ("x", "y"),
        3,
        2.0,
    ),
    "queue": Loss(
        lambda x, y, t, queue: contrastive_loss(x, y, 1 / (2 * t), negatives=queue),
        lambda x, y, t, queue: formulas.queue_cross_entropy(x, y, 1 / (2 * t), queue),
        ("x", "y"),
        3,
        2.0,
    ),
    "learned tau": Loss(
        lambda x, y, tau, **_: contrastive_loss(x, y, tau),
        lambda x, y, tau, **_: formulas.cross_entropy(x, y, tau),
        ("x", "y", "tau"),
        3,
        2.0,
    ),
}


def items(session: Session) -> list[Item]:
    """Return one item for each engine, dtype and size; the kernel first."""
    sizes = QUICK_SIZES if session.quick else SIZES
    cases = [
        (dtype, size, engine) for engine in session.engines for size in sizes for dtype in session.dtypes
    ]
    if session.on_gpu and not session.quick:
        cases += itertools.product((torch.float16,), FLOAT16_SIZES, session.engines)
    return [
        Item(
            f"{engine}, {name_of(dtype)}, N={n}, m={m}, t={t:g}",
            functools.partial(_check, session, engine, dtype, n, m, t),
        )
        for dtype, (n, m, t), engine in cases
        if serves(engine, torch.empty(1, m, dtype=dtype, device=session.device))
    ]


def _check(session: Session, engine: Engine, dtype: torch.dtype, n: int, m: int, t: float) -> Record:
    """Check all losses at one size, each by itself."""
    checks: dict[str, Record] = {}
    with computed_by(engine):
        for name, loss in LOSSES.items():
            checks[name] = _recorded(functools.partial(_check_loss, session, loss, dtype, n, m, t))
        if dtype == torch.float32:
            checks["row sums"] = _recorded(functools.partial(_check_row_sums, session, n, m, t))
    worst = max((check["worst"] for check in checks.values() if "worst" in check), default=None)
    record = {
        "engine": engine,
        "dtype": name_of(dtype),
        "n": n,
        "m": m,
        "t": t,
        "worst": worst,
        "checks": checks,
    }
    wrong = [
        f"{name}: {check.get('error') or 'errors over their bounds: ' + check['in_words']}"
        for name, check in checks.items()
        if not check.get("worst", float("nan")) <= 1
    ]
    if wrong:
        raise Failed("\n".join(wrong), record)
    return record


def _recorded(check: Callable[[], Record]) -> Record:
    try:
        return check()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[-600:]}


def _check_loss(session: Session, loss: Loss, dtype: torch.dtype, n: int, m: int, t: float) -> Record:
    operands = _operands(session, dtype, n, m, t)
    constant = {} if "queue" in loss.leaves or loss is not LOSSES["queue"] else {"queue": operands["queue"]}
    leaves = [operands[name] for name in loss.leaves]
    found = _value_and_gradients(functools.partial(loss.ours, t=t, **constant), leaves)
    exact = _value_and_gradients(
        functools.partial(loss.definition, t=t, **{name: z.double() for name, z in constant.items()}),
        [leaf.double() for leaf in leaves],
    )
    with torch.no_grad():
        value = loss.ours(*leaves, t=t, **constant)
    reach = max(1.0, loss.reach * t)
    errors = {
        "value": _over(found[0] - exact[0], 8 * EPS * reach + 1e-6),
        "value alone": _over(value - exact[0], 8 * EPS * reach + 1e-6),
    }
    for name, mine, true in zip(loss.leaves, found[1:], exact[1:], strict=True):
        if name == "tau":  # a difference of two means of products, over tau^2
            bound = 32 * EPS * reach * max(float(true.abs()), reach**2)
        else:
            bound = _gradient_bound(mine.dtype, reach, loss.roundings) * float(true.abs().max())
        errors[f"gradient of {name}"] = _over(mine - true, bound)
    return _record(errors)


def _gradient_bound(dtype: torch.dtype, reach: float, roundings: int) -> float:
    """Return the bound of a gradient's error over its largest entry."""
    bound = 32 * EPS * reach
    return bound if dtype == torch.float32 else max(bound, 2e-5) + roundings * torch.finfo(dtype).eps / 2


def _operands(session: Session, dtype: torch.dtype, n: int, m: int, t: float) -> dict[str, Tensor]:
    return {
        "x": session.rows(n, m, dtype),
        "y": session.rows(n, m, dtype, seed=1),
        "queue": session.rows(2 * n + 3, m, dtype, seed=2),
        "tau": torch.tensor(1 / (2 * t), device=session.device),
    }


def _value_and_gradients(loss: Callable[..., Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def _check_row_sums(session: Session, n: int, m: int, t: float) -> Record:
    x = session.rows(n, m)
    population = Population(x, "rows", normalize=False, device=session.device)
    result = row_sums.all_row_sums(population, [t, t / 2], lambda _: None)
    exponents = formulas.squared_distances(x.double(), x.double()).mul(-t).fill_diagonal_(-torch.inf)
    bound = 8 * EPS * max(1.0, t) + 1e-6
    errors = {}
    for number, factor in enumerate((1.0, 0.5)):
        logs = result.sums[number].log() + result.shift[number]
        exact = (factor * exponents).logsumexp(1).cpu()
        counts = exact > exact.max() - RANGE
        errors[f"logs at {factor:g} t"] = _over((logs - exact)[counts], bound)
        squares = result.squares[number].log() + 2 * result.shift[number]
        errors[f"squares at {factor:g} t"] = _over(
            squares - (2 * factor * exponents).flatten().logsumexp(0).cpu(), 2 * bound
        )
    return _record(errors)


def _over(difference: Tensor, bound: float) -> float:
    """Return the largest difference over its bound; NaN if any is NaN."""
    return float(difference.double().abs().max()) / bound


def _record(errors: dict[str, float]) -> Record:
    """Return errors over their bounds, and the worst of them; NaN counts as the worst."""
    worst = max(errors.values(), key=lambda error: error if error == error else float("inf"))
    return {
        "worst": worst,
        "over_bound": errors,
        "in_words": ", ".join(f"{name} {error:.3g}" for name, error in errors.items()),
    }


def _ids(x: Tensor) -> Tensor:
    """Return ids of which every fourth row shares that of the row before it."""
    ids = torch.arange(len(x), device=x.device)
    return torch.where(ids % 4 == 1, ids - 1, ids) if len(x) > 2 else ids
