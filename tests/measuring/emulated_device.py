"""A device where there is none, with float64 as CUDA has it, or without as Apple's MPS: its tensors live on
the CPU, and no operation takes tensors of both.

    python -m tests.measuring.emulated_device {float64,float32}

Everything is measured on the device and on the CPU, and all numbers are compared.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from align_uniform.engine import precision
from align_uniform.measuring.comparison import compare
from align_uniform.measuring.drift import drift
from align_uniform.measuring.measure import measure

DEVICE = torch.device("privateuseone", 0)
MIXED = ("_to_copy", "copy_", "index", "index_put_", "_index_put_impl_")
"""The operations that take tensors of both devices."""


class OnDevice(Tensor):
    """A tensor that says that it is on the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.held})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU, refuse what the device refuses, and put the result on its device."""
    tensors = [z for z in tree_leaves((args, kwargs)) if isinstance(z, Tensor)]
    ours = [z for z in tensors if isinstance(z, OnDevice)]
    name = func.overloadpacket.__name__
    target = kwargs.get("device")
    on_device = bool(ours) if target is None else torch.device(target).type == DEVICE.type
    if ours and name not in MIXED and any(z.dim() for z in tensors if not isinstance(z, OnDevice)):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if target is not None:
        kwargs = kwargs | {"device": torch.device("cpu") if on_device else target}
    plain_args, plain = tree_map(lambda z: z.held if isinstance(z, OnDevice) else z, (args, kwargs))
    result = func(*plain_args, **plain)
    if func._schema.is_mutable:  # in place, or into "out"
        return kwargs.get("out", args[0])
    if not on_device:
        return result
    return tree_map(_placed, result)


def _placed(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.dtype == torch.float64 and not precision.has_float64(DEVICE):
        raise TypeError(
            "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it."
        )
    return OnDevice(value)


@contextmanager
def emulated_device() -> Iterator[torch.device]:
    """Yield a device that exists until the end of the block."""
    with _Mode():  # type: ignore[no-untyped-call]
        yield DEVICE


def check() -> None:
    """Measure on the device and on the CPU, and compare all numbers."""
    rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    rows[5] = rows[6]
    near, numbers = rows + 0.1 * rows.roll(1, 0), torch.arange(300)
    partners = numbers.unsqueeze(1).expand(-1, 2)
    cases: list[tuple[Tensor, dict[str, Any]]] = [
        (rows, {"labels": numbers % 7, "t": [2, 0.5]}),
        (rows.double(), {"ids": numbers // 2}),
        (rows, {"positives": near}),
        (rows, {"pairs": numbers[:100].view(50, 2), "method": "anchors", "anchors": 50}),
        (rows * 1000, {"normalize": False, "t": 1e-6}),  # too far apart for float32
        (rows * 1000, {"normalize": False}),
        (rows + 3, {"anchors": 50}),  # a cone, which is measured less its mean too, from anchors
        (rows, {"positives": near, "pairs": partners, "labels": numbers % 7}),
        (rows, {"positives": near, "pairs": partners, "method": "anchors", "anchors": 50}),
        (rows, {"groups": numbers // 3, "labels": numbers // 3 % 5}),
        (rows, {"positives": near, "dims": [4], "center": True}),
    ]
    for features, options in cases:
        with emulated_device() as device, tempfile.TemporaryDirectory() as folder:
            found = measure(features, device=device, **options)
            assert found.details is not None
            found.details.save(Path(folder) / "rows.npz")
        assert found.provenance["device"] == str(DEVICE)
        _compare(found.scalars(), measure(features.float(), **options).scalars())
    with emulated_device() as device:  # where features are there already
        _compare(measure(rows.to(device)).scalars(), measure(rows).scalars())
    differences: list[tuple[Callable[..., Any], dict[str, Any]]] = [
        (drift, {}),
        (drift, {"paired": True}),
        (drift, {"method": "anchors", "anchors": 50}),
        (compare, {"paired": True}),
    ]
    for function, options in differences:
        with emulated_device() as device:
            there = function(rows, near, device=device, **options)
        _compare(dict(_numbers(there.to_dict())), dict(_numbers(function(rows, near, **options).to_dict())))


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a document with their paths, but how long they took."""
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in parts:
            yield from _numbers(part, f"{path}.{name}")
    elif isinstance(value, int | float) and not path.endswith("seconds"):
        yield path, float(value)


def _compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend()
    if sys.argv[1] == "float32":
        precision.WITHOUT_FLOAT64.add(DEVICE.type)
    check()
