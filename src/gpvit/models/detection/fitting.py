"""Resizing and padding of a batch for a detector, as an operator that exported graphs may hold."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from gpvit.models.detection.inputs import DIVISOR
from gpvit.runtime.resizing import fitted_size


@torch.library.custom_op("gpvit::fit_and_pad", mutates_args=())
def fit_and_pad(images: torch.Tensor, sides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Resize images to ``fitted_size``, if they are to fit sides, and pad them with zeros to a multiple of 32.

    To a graph the new height and width are unknown numbers; as formulas of the old ones they would be carried along
    through the whole network, and exporters would take hours. A program that holds the operator (``.pt2``) is loaded
    where this module is imported.

    Args:
        images: Images ``(B, C, H, W)``.
        sides: Short and long side to fit, or none to keep the size.

    Returns:
        The padded images, and their height and width before padding, ``(2,)``, float32.
    """
    size = (images.shape[2], images.shape[3])
    if sides:
        short, long = sides
        size = fitted_size(size, (long, short))
        images = F.interpolate(images, size, mode="bilinear", align_corners=False)
    return F.pad(images, (0, -size[1] % DIVISOR, 0, -size[0] % DIVISOR)), images.new_tensor(size, dtype=torch.float32)


@fit_and_pad.register_fake
def _(images: torch.Tensor, sides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    context = torch.library.get_ctx()
    rows, columns = (context.new_dynamic_size(min=1) for _ in range(2))
    padded = images.new_empty((*images.shape[:2], rows * DIVISOR, columns * DIVISOR))
    return padded, images.new_empty(2, dtype=torch.float32)
