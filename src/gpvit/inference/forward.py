"""Asks a model, wherever it is and whatever its precision."""

from collections.abc import Callable

import torch
from torch import nn

from gpvit.errors import UserError


@torch.inference_mode()
def ask(
    model: nn.Module, images: torch.Tensor, forward: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Run a model on images and return its logits, float32, on the model's device.

    Args:
        model: In evaluation mode.
        images: ``(B, C, H, W)``, on any device.
        forward: The model's method to call; by default the model itself.

    Raises:
        ValueError: If a logit is not finite.
    """
    weight = next(model.parameters())
    logits: torch.Tensor = (forward or model)(images.to(weight.device, weight.dtype)).float()
    if not logits.isfinite().all():
        raise UserError(f"the model's answers are not finite; are its weights, or is {weight.dtype} too narrow?")
    return logits
