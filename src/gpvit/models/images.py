"""What a network takes and gives: batches of images, and values that are finite."""

from typing import Any

import torch

from gpvit.errors import UserError


def check_images(x: Any, in_chans: int, min_side: int = 1) -> None:
    """Refuse what is no batch of normalised images ``(B, in_chans, height, width)``, or of a side that is too short."""
    if not isinstance(x, torch.Tensor):  # symbolic tracing knows no shapes
        return
    if x.ndim != 4 or x.shape[1] != in_chans or 0 in x.shape[2:]:
        raise UserError(
            f"expected images of shape (batch, {in_chans}, height, width), got {tuple(x.shape)}; "
            f"pass in_chans={x.shape[1] if x.ndim == 4 else '...'} when the model is created, or convert the images"
        )
    if not x.is_floating_point():
        raise UserError(f"expected normalised floating-point images, got {x.dtype}; scale to [0, 1] and normalise")
    if x.shape[2] < min_side or x.shape[3] < min_side:
        raise UserError(
            f"expected images of at least {min_side} pixels a side, got {x.shape[2]}x{x.shape[3]}; enlarge them"
        )


def require_finite(values: torch.Tensor, dtype: torch.dtype) -> None:
    """Refuse NaN or infinity, from which any prediction would be arbitrary, of a model with weights of a dtype."""
    if not values.isfinite().all():
        raise UserError(f"the model's outputs are not finite: its weights may be damaged, or {dtype} too narrow for it")
