"""Masks between the frame of a box, 28x28, and the image."""

from typing import Literal

import torch
import torch.nn.functional as F
from torchvision.ops import roi_align

MaskFormat = Literal["probability", "binary", "box"]
THRESHOLD = 0.5


def paste_masks(
    masks: torch.Tensor, boxes: torch.Tensor, image_size: tuple[int, int], binary: bool = False
) -> torch.Tensor:
    """Paste the masks ``(N, 1, S, S)`` of boxes ``(N, 4)`` into images of their own, ``(N, 1, height, width)``.

    Probabilities are taken bilinearly at the centre of each pixel; `binary` returns whether they are at least 0.5, a
    quarter of the memory. Each mask is worked on within its box alone, so that beside the result next to no memory is
    used; boxes may reach beyond the image.

    code: ``_do_paste_mask``.
    """
    height, width = image_size
    pasted = masks.new_zeros((len(masks), 1, height, width), dtype=torch.bool if binary else masks.dtype)
    # As far as the code's CPU path looks: the mask fades out beyond its box, below the threshold.
    reach = torch.cat([boxes[:, :2].floor() - 1, boxes[:, 2:].ceil() + 1], dim=1).long()
    for i, (left, top, right, bottom) in enumerate(reach.tolist()):
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if left < right and top < bottom:
            x = _positions(left, right, boxes[i, 0], boxes[i, 2])
            y = _positions(top, bottom, boxes[i, 1], boxes[i, 3])
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
            patch = F.grid_sample(masks[i : i + 1], grid[None].to(masks.dtype), align_corners=False)[0]
            pasted[i, :, top:bottom, left:right] = patch >= THRESHOLD if binary else patch
    return pasted


def _positions(start: int, stop: int, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Locate pixel centres between the edges of a box, at -1 and 1; further off than 2 there is nothing anyway."""
    centres = torch.arange(start, stop, device=low.device) + 0.5
    places = (centres - low) / (high - low) * 2 - 1
    return places.nan_to_num(nan=2.0).clamp(-2, 2)  # NaN on the edges of a box that clipping left nothing of


def crop_masks(masks: torch.Tensor, boxes: torch.Tensor, indices: torch.Tensor, size: int) -> torch.Tensor:
    """Cut masks ``(M, height, width)`` out for boxes ``(N, 4)``, and scale them to what the mask head is to predict.

    Indices ``(N,)`` tell the mask of each box; the result is 0.0 or 1.0, ``(N, size, size)``.

    code: ``mask_target``, ``BitmapMasks.crop_and_resize``.
    """
    cropped = []
    for index in indices.unique().tolist():  # one at a time: all masks of a large image as floats would be gigabytes
        chosen = boxes[indices == index]
        mask = (masks[index] > 0).to(boxes.dtype)[None, None]
        cropped.append(roi_align(mask, [chosen], size, sampling_ratio=0, aligned=True)[:, 0] >= THRESHOLD)
    order = indices.argsort(stable=True).argsort()
    return torch.cat(cropped)[order].to(boxes.dtype) if cropped else boxes.new_zeros((0, size, size))
