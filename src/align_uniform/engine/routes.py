"""The questions by which the engine chooses its way.

They ask what torch is doing, what may be read from a tensor, and who computes:

* A **value** may be read from a tensor only where nobody waits for it: on the CPU, eagerly, and from a tensor
  that has values.
* The **kernel** computes float32 and half-precision rows of up to `KERNEL_FEATURES` features on CUDA where
  triton is installed, unless `ALIGN_UNIFORM_ENGINE=tiles` forbids it; with `ALIGN_UNIFORM_ENGINE=triton` and
  `TRITON_INTERPRET=1` on a CPU too. Everything else is left to the tile loop.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

PLAIN_PAIRS = 2**22
"""The largest pair matrix that a compiled graph keeps in memory as a whole (16 MiB in float32)."""

KERNEL_FEATURES = 1024
"""The widest rows that the kernel takes; it repeats the products for each 128 features of a gradient."""

ENGINE = "ALIGN_UNIFORM_ENGINE"
"""The environment variable that chooses between the tile loop and the kernel."""

HALVES = frozenset({torch.float16, torch.bfloat16})
"""The dtypes that the kernel multiplies as they are, exactly."""

NARROW = HALVES | {torch.float32}
"""The dtypes that the kernel takes."""

_EAGER_TYPES = (Tensor, torch.nn.Parameter)
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Whether a graph is being exported; torch before 2.7 does not tell this from compiling."""

_FAKE, _PROXY = torch._C._TorchDispatchModeKey.FAKE, torch._C._TorchDispatchModeKey.PROXY


# torch offers no public way to ask which transform or mode is under way; these names are what its own
# Function.apply and its own tracing ask.


def forward_ad_is_active() -> bool:
    """Return whether tangents are being pushed forward, by dual numbers or torch.func.jvp."""
    return forward_ad._current_level >= 0


def functorch_is_active() -> bool:
    """Return whether a torch.func transform (grad, vmap, jvp, ...) is active."""
    return torch._C._are_functorch_transforms_active()


def is_batched(z: Tensor | None) -> bool:
    """Return whether z stands for many tensors, over which a backward pass is mapped.

    This is so under `is_grads_batched` and for vectorised Jacobians.
    """
    if z is None:
        return False
    return functorch_is_active() or bool(torch._C._functorch.is_legacy_batchedtensor(z))


def is_traced() -> bool:
    """Return whether make_fx or torch.export is recording operations into a graph for other inputs."""
    return is_exporting() or torch._C._get_dispatch_mode(_PROXY) is not None


def is_recorded() -> bool:
    """Return whether operations are recorded or transformed, which only plain operations survive."""
    if torch.compiler.is_compiling():
        return True
    return forward_ad_is_active() or functorch_is_active() or is_traced()


def may_ask(x: Tensor) -> bool:
    """Return whether a value can be read from x without waiting for a device or tying a graph to it."""
    return (
        not torch.compiler.is_compiling()
        and x.is_cpu
        and type(x) in _EAGER_TYPES
        and not functorch_is_active()
        and (torch._C._len_torch_dispatch_stack() == 0 or not _is_fake_or_traced())
    )


def is_eager(x: Tensor) -> bool:
    """Return whether nothing but eager computation is under way: no graph, no mode, no transform."""
    return (
        type(x) in _EAGER_TYPES
        and x.device.type != "meta"
        and not torch.compiler.is_compiling()
        and not functorch_is_active()
        and torch._C._len_torch_dispatch_stack() == 0
    )


def _is_fake_or_traced() -> bool:
    return any(torch._C._get_dispatch_mode(mode) is not None for mode in (_FAKE, _PROXY))


def takes_kernel(x: Tensor, y: Tensor | None = None) -> bool:
    """Return whether the kernel computes the sums over these rows, and these columns if they are others."""
    if chosen_engine() == "tiles":
        return False
    dtypes = {x.dtype} if y is None else {x.dtype, y.dtype}
    if not dtypes <= NARROW or x.shape[-1] > KERNEL_FEATURES:
        return False
    if x.is_cuda:
        return _is_capable(x.get_device())
    return x.is_cpu and is_interpreted() and os.environ.get(ENGINE) == "triton"


@functools.cache
def _is_capable(device: int) -> bool:
    """Return whether a GPU has the matrix products that the kernel needs: Ampere and later.

    Fake GPUs, which compute nothing, count as capable.
    """
    return device >= torch.cuda.device_count() or torch.cuda.get_device_capability(device) >= (8, 0)


@functools.cache
def chosen_engine() -> str:
    """Return the engine for CUDA, "tiles" or "triton": what `ALIGN_UNIFORM_ENGINE` says, else what there is.

    Raises:
        ValueError: the variable is neither, or asks for triton where it is not installed.
    """
    is_installed = importlib.util.find_spec("triton") is not None
    chosen = os.environ.get(ENGINE) or ("triton" if is_installed else "tiles")
    if chosen not in ("tiles", "triton"):
        raise ValueError(f"{ENGINE} must be tiles or triton, got {chosen!r}; run: unset {ENGINE}")
    if chosen == "triton" and not is_installed:
        raise ValueError(
            f"{ENGINE}=triton needs the package triton, which is not installed; run: pip install triton"
        )
    return chosen


@functools.cache
def is_interpreted() -> bool:
    """Return whether triton's kernels run in its interpreter, on a CPU."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"
