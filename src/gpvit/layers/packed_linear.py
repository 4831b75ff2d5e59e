"""A Linear for inference on a CPU, whose weight is laid out once for faster products."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gpvit.ops.products import pack, packed_linear
from gpvit.ops.tracing import is_recorded


class PackedLinear(nn.Linear):
    """A Linear, with a GELU after it if asked, whose products take a packed weight wherever that serves.

    The weight itself is kept for all else: gradients, autocast, other types and devices, graphs.
    """

    def __init__(self, linear: nn.Linear, gelu: bool = False):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias, self.gelu = linear.weight, linear.bias, gelu
        self._packed = pack(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(*, in)`` to ``(*, out)``."""
        if self._packed is not None and not is_recorded(x) and x.dtype == torch.float32 and x.device.type == "cpu":
            needs_gradient = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
            if not needs_gradient and not torch.is_autocast_enabled("cpu"):
                return packed_linear(x, self._packed, self.bias, self.gelu)
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.gelu else y

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_packed": None}  # which cannot be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._packed = pack(self.weight)

    def _apply(self, *args: Any, **kwargs: Any) -> "PackedLinear":
        super()._apply(*args, **kwargs)
        self._packed = pack(self.weight)
        return self
