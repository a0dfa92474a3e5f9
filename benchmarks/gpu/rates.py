"""The limit of this GPU, measured in the same run: how fast it multiplies and exponentiates.

The limit of a call is the time of its products and exponentials *in the form that is used*, one after the
other. The kernel visits the full square of N^2 pairs. Float32 rows are two terms of float16, and each of
their products is three; a value takes one product a pair, a gradient one more, of half-precision rows two
more (their weights have two terms). Rows of more than 128 features have a program for each 128 features of
their gradient, and each computes the exponents again. The tile loop visits half the pairs, with one product
for the value and three for value and gradient, in float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.item import Item, LeftOut, Record
from benchmarks.gpu.session import Engine, Session
from benchmarks.gpu.turns import sample
from benchmarks.timing import spread

EXPONENTIALS_EACH = 64
"""The number of exponentials that the kernel computes of each number that it loads."""


def items(session: Session) -> list[Item]:
    """Return the rates of products in three precisions, and of exponentials in registers and in memory."""
    products = [
        Item(name, functools.partial(_products, session, name)) for name in ("float32", "tf32", "bfloat16")
    ]
    return [
        *products,
        Item("exp", functools.partial(_exponentials, session)),
        Item("exp, elementwise", functools.partial(_elementwise, session)),
    ]


def _products(session: Session, name: str) -> Record:
    """Measure the flop a second of a product of large squares."""
    if name != "float32":
        session.needs_gpu()
    n = 128 if session.quick else 8192
    a, b = (torch.randn(n, n, device=session.device, dtype=_dtype(name)) for _ in range(2))
    out = torch.empty_like(a)
    with _tf32(name == "tf32"):
        seconds = _median_seconds(session, lambda: torch.mm(a, b.T, out=out))
    return {"rate": 2 * n**3 / seconds, "unit": "flop/s", "size": n}


def _dtype(name: str) -> torch.dtype:
    return torch.bfloat16 if name == "bfloat16" else torch.float32


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _exponentials(session: Session) -> Record:
    """Measure the exponentials a second of a kernel, which never leave the registers."""
    if "triton" not in session.engines:
        raise LeftOut("needs triton, and a GPU or TRITON_INTERPRET=1")
    from benchmarks.gpu import exponentials

    size = 2**10 if session.quick else 2**24
    z = torch.rand(size, device=session.device)
    out = torch.empty_like(z)
    seconds = _median_seconds(session, lambda: exponentials.launch(z, out, EXPONENTIALS_EACH))
    return {"rate": size * EXPONENTIALS_EACH / seconds, "unit": "exp/s", "size": size}


def _elementwise(session: Session) -> Record:
    """Measure the exponentials a second from memory to memory.

    The traffic of `torch.exp` of a large tensor takes most of its time.
    """
    size = 2**10 if session.quick else 2**28
    z = torch.rand(size, device=session.device)
    out = torch.empty_like(z)
    return {
        "rate": size / _median_seconds(session, lambda: torch.exp(z, out=out)),
        "unit": "exp/s",
        "size": size,
    }


def _median_seconds(session: Session, call: Callable[[], Any]) -> float:
    def run() -> tuple[Tensor, ...]:
        call()
        return ()

    once = min(sample(session, run, 1) for _ in range(3))
    calls = max(1, round((1e-3 if session.quick else 0.05) / once))
    return spread([sample(session, run, calls) for _ in range(5)]).median


def limit_seconds(
    rates: dict[str, float],
    *,
    n: int,
    m: int,
    dtype: str,
    engine: Engine,
    gradient: bool,
    exponential: str = "exp",
) -> float | None:
    """Return the least time of `uniform_loss` in the form that is used, None where a rate is missing.

    Args:
        rates: by the names of the items above.
        n: number of rows.
        m: number of features.
        dtype: dtype of the rows.
        engine: the engine, whose form it is.
        gradient: whether there is a gradient too.
        exponential: the rate to take of exponentials.

    Example:
        >>> rates = {"bfloat16": 3e14, "exp": 1e12}
        >>> limit_seconds(rates, n=1000, m=50, dtype="float32", engine="triton", gradient=False)
        2e-06
    """
    pairs, product = float(n * n), 2 * m
    parts = math.ceil(m / 128) if gradient else 1
    if engine == "tiles":
        pairs, kind, products = pairs / 2, "float32", 3 if gradient else 1
    elif dtype == "float32":
        kind, products = "bfloat16", 3 * (parts + gradient)  # float16 is as fast
    else:
        kind, products = "bfloat16", parts + 2 * gradient
    if kind not in rates or exponential not in rates:
        return None
    exponentials = parts if engine == "triton" else 1
    return pairs * (product * products / rates[kind] + exponentials / rates[exponential])
