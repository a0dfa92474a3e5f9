"""A probe of work and memory: the operations that are called, and the size of their results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Outputs(TorchDispatchMode):
    """A count of the numbers that the results of operations hold."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.largest = 0
        """The size of the largest result."""
        self.exponentials = 0
        """The total size of the results of exp."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, Tensor):
                self.largest = max(self.largest, part.numel())
                if func.overloadpacket in (torch.ops.aten.exp_, torch.ops.aten.exp) and part.dim() > 1:
                    self.exponentials += part.numel()
        return result
