"""The forward pass of prediction: logits in float32, whatever the model's device and precision."""

from collections.abc import Callable

import torch
from torch import nn

from gpvit.errors import UserError


def forward_logits(
    model: nn.Module, images: torch.Tensor, forward: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Run a model on images and return its logits, float32, on the model's device, without gradients.

    Args:
        model: In evaluation mode.
        images: ``(B, C, H, W)``, on any device.
        forward: The model's method to call; by default the model itself.

    Raises:
        ValueError: If a logit is not finite.
    """
    weight = next(model.parameters())
    with torch.inference_mode():
        logits = (forward or model)(images.to(weight.device, weight.dtype, non_blocking=True)).float()
        require_finite(logits, weight.dtype)
    return logits


def require_finite(values: torch.Tensor, dtype: torch.dtype) -> None:
    """Refuse values that hold NaN or infinity, from which any prediction would be arbitrary.

    Args:
        values: What the model computed.
        dtype: Of its weights.

    Raises:
        ValueError: If a value is not finite.
    """
    if not values.isfinite().all():
        raise UserError(f"the model's outputs are not finite: its weights may be damaged, or {dtype} too narrow for it")
