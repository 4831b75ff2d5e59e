"""The forward pass of prediction: logits in float32, whatever the model's device and precision."""

from collections.abc import Callable

import torch
from torch import nn

from gpvit.models.images import require_finite


@torch.inference_mode()
def forward_logits(
    model: nn.Module, images: torch.Tensor, forward: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Run a model, or one of its methods, on images ``(B, C, H, W)`` of any device; refuse logits that are not finite.

    The logits are float32, on the model's device.
    """
    weight = next(model.parameters())
    logits = (forward or model)(images.to(weight.device, weight.dtype, non_blocking=True)).float()
    require_finite(logits, weight.dtype)
    return logits
