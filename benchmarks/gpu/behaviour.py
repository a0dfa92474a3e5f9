"""The behaviour of losses in training code: CUDA graphs, no waiting, autocast, compilation, launches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from align_uniform import align_loss, contrastive_loss, uniform_loss
from benchmarks.case import Operation
from benchmarks.gpu import formulas
from benchmarks.gpu.item import Item, LeftOut, Record
from benchmarks.gpu.session import Engine, Session, computed_by
from benchmarks.operations import value_and_gradient

ROWS, FEATURES, QUEUE = 512, 128, 4096
LAUNCH_ROWS = (512, 4096)
COMPILED_ROWS = (512, 4096)
"""The numbers of rows of compiled steps.

A graph holds the matrix of pairs of the first, and calls the engine for the second.
"""

TOLERANCE = 1e-5


class Call(NamedTuple):
    """A loss with its operands; gradients are taken of those that require one."""

    loss: Callable[..., Tensor]
    operands: Sequence[Tensor]

    @property
    def operation(self) -> Operation:
        """Return value and gradient."""
        return value_and_gradient(self.loss, *self.operands)


def items(session: Session) -> list[Item]:
    """Return every check of every loss by every engine, then compilation and launches."""
    checks = {"no waiting": _sync, "graph": _graph, "autocast": _autocast}
    found = [
        Item(f"{name}, {loss}, {engine}", functools.partial(_checked, check, session, loss, engine))
        for name, check in checks.items()
        for engine in session.engines
        for loss in _calls(session)
    ]
    found += [
        Item(f"launches, {name}, N={n}", functools.partial(_launches, session, name, n))
        for n in LAUNCH_ROWS
        for name in (*session.engines, "two lines")
    ]
    found += [
        Item(f"compile, N={n}, {engine}", functools.partial(_compile, session, engine, n))
        for engine in session.engines
        for n in COMPILED_ROWS
    ]
    return found


def _calls(session: Session) -> dict[str, Call]:
    """Return all losses, on rows of the same few sizes."""
    n, m, k = (16, 16, 40) if session.quick else (ROWS, FEATURES, QUEUE)
    x, y, z = (session.rows(n, m, seed=seed).requires_grad_() for seed in range(3))
    queue, ids = session.rows(k, m, seed=3), torch.arange(n, device=session.device) // 2
    tau = torch.tensor(0.1, device=session.device, requires_grad=True)
    return {
        "align": Call(align_loss, (x, y)),
        "align, views": Call(lambda *views: align_loss(torch.stack(views)), (x, y, z)),
        "uniform": Call(uniform_loss, (x,)),
        "uniform, negatives": Call(lambda x, queue: uniform_loss(x, negatives=queue), (x, queue)),
        "uniform, ids": Call(lambda x: uniform_loss(x, ids=ids), (x,)),
        "contrastive": Call(lambda x, y: contrastive_loss(x, y, 0.1), (x, y)),
        "contrastive, tau learned": Call(contrastive_loss, (x, y, tau)),
        "contrastive, queue": Call(
            lambda x, y, queue: contrastive_loss(x, y, 0.1, negatives=queue), (x, y, queue)
        ),
    }


def _checked(check: Callable[[Session, Call], None], session: Session, loss: str, engine: Engine) -> Record:
    with computed_by(engine):
        check(session, _calls(session)[loss])
    return {}


def _sync(session: Session, call: Call) -> None:
    """Check that a value with its gradient waits for nothing once its kernels are loaded."""
    session.needs_gpu()
    run = call.operation
    for _ in range(2):
        run()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _graph(session: Session, call: Call) -> None:
    """Check that a captured graph gives, for new rows in the same place, the results of an eager call."""
    session.needs_gpu()
    run, side = call.operation, torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run()
    with torch.no_grad():
        for seed, rows in enumerate(call.operands):
            rows.copy_(session.rows(*rows.shape, seed=10 + seed) if rows.dim() else torch.tensor(0.2))
    graph.replay()
    torch.cuda.synchronize()
    _assert_close(captured, run())


def _autocast(session: Session, call: Call) -> None:
    """Check that autocast changes neither values nor gradients of float32 rows."""
    expected = call.operation()
    with torch.autocast(session.device.type, torch.bfloat16):
        found = call.operation()
    _assert_close(found, expected)


def _assert_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE * float(theirs.abs().max()))


def _compile(session: Session, engine: Engine, n: int) -> Record:
    """Check that a compiled step of the two losses of the paper gives the results of an eager one."""
    session.needs_gpu()
    x, y = (session.rows(n, FEATURES, seed=seed).requires_grad_() for seed in range(2))

    def objective(x: Tensor, y: Tensor) -> Tensor:
        return align_loss(x, y) + (uniform_loss(x) + uniform_loss(y)) / 2

    torch.compiler.reset()
    with computed_by(engine):
        expected = Call(objective, (x, y)).operation()
        found = Call(torch.compile(objective, fullgraph=True, dynamic=False), (x, y)).operation()
    _assert_close(found, expected)
    return {}


def _launches(session: Session, name: str, n: int) -> Record:
    """Count the kernels, copies and fills of one value with its gradient, and of a value alone."""
    session.needs_gpu()
    x = session.rows(n, FEATURES)
    loss = formulas.two_lines if name == "two lines" else uniform_loss
    engine: Engine | None = {"triton": "triton", "tiles": "tiles"}.get(name)  # type: ignore[assignment]  # a key is its value
    with computed_by(engine):
        counts = {
            "value": _count(lambda: (loss(x),)),
            "value + gradient": _count(value_and_gradient(loss, x.clone().requires_grad_())),
        }
    return {"n": n, "by": name, "launches": counts}


def _count(run: Operation) -> int:
    from torch.profiler import ProfilerActivity, profile

    run()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        run()
        torch.cuda.synchronize()
    events = profiler.events() or []
    count: int = sum(event.device_type.name == "CUDA" and not event.is_user_annotation for event in events)
    if count == 0:
        raise LeftOut("the profiler sees no launches here; it may need permission to count")
    return count
