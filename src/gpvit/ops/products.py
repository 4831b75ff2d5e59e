"""Products of a CPU in float32 with weights that oneDNN has laid out for them, a GELU included.

PyTorch hands products to MKL, which is at its best on Intel's processors, and carries oneDNN beside it. What its
compiler calls of that is called here. These are names that PyTorch keeps to itself, and they stand in no other file;
where they are missing, or refuse, there are no packed weights.
"""

from functools import cache

import torch

from gpvit.devices import cpu_name


@cache
def packing_pays() -> bool:
    """Tell whether packed weights are faster on this machine: measured, they are on AMD's processors."""
    return "AMD" in cpu_name() and torch.backends.mkl.is_available() and pack(torch.ones(1, 1)) is not None


def pack(weight: torch.Tensor) -> torch.Tensor | None:
    """Lay out the weight ``(out, in)`` of a Linear for :func:`packed_linear`; None where that cannot be done."""
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    try:
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    except (AttributeError, RuntimeError, TypeError):
        return None


def packed_linear(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, gelu: bool = False) -> torch.Tensor:
    """Compute ``x @ weight.T + bias``, and its GELU if asked, of ``x`` ``(*, in)``, float32, without gradients."""
    activation, kind = ("gelu", "none") if gelu else ("none", "")
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], kind)
