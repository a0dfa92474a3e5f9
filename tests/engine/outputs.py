"""A probe of work and memory: what operations are called, and how many numbers they give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Outputs(TorchDispatchMode):
    """How many numbers the tensors hold that operations give."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.largest = 0
        """The most that one tensor holds."""
        self.exponentials = 0
        """All that went through exp."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
                self.largest = max(self.largest, part.numel())
                if func.overloadpacket in (torch.ops.aten.exp_, torch.ops.aten.exp) and part.dim() > 1:
                    self.exponentials += part.numel()
        return result
