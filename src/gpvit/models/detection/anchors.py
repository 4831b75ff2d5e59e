"""Anchors on a grid of fixed strides, and box deltas relative to them."""

from collections.abc import Sequence

import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator

ASPECT_RATIOS = (0.5, 1.0, 2.0)


class FixedStrideAnchors(AnchorGenerator):
    """Anchors whose strides are given, whose sides are not rounded, and which are float32 whatever the maps are.

    An anchor is centred on the upper left corner of its cell, as in torchvision; there, however, the stride is inferred
    from the sizes of image and map, which is off where a map was rounded up.

    Args:
        strides: Pixels per cell of each map.
        scales: Sides of the square anchors, in strides.

    code: ``AnchorGenerator`` of the released configurations, ``center_offset`` 0.
    """

    def __init__(self, strides: Sequence[int], scales: Sequence[float]):
        self.strides = tuple(strides)
        sizes = tuple(tuple(stride * scale for scale in scales) for stride in strides)
        super().__init__(sizes, (ASPECT_RATIOS,) * len(sizes))

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Make the anchors around the origin, ``(ratios * scales, 4)``, all scales of a ratio together.

        Args:
            scales: Sides of square anchors, in pixels.
            aspect_ratios: Height over width.
            dtype: Type of the result.
            device: Where to put it.
        """
        sides = torch.tensor(scales, dtype=dtype, device=device)
        heights = torch.tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        half = torch.stack([torch.outer(1 / heights, sides), torch.outer(heights, sides)], dim=-1).flatten(0, 1) / 2
        return torch.cat([-half, half], dim=1)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Make the anchors ``(h_i * w_i * anchors, 4)`` of each map ``(B, C, h_i, w_i)``, row by row."""
        self.set_cell_anchors(torch.float32, maps[0].device)
        grids = [list(m.shape[-2:]) for m in maps]
        return self.grid_anchors(grids, [[stride, stride] for stride in self.strides])


class BoundedBoxCoder(BoxCoder):
    """Box deltas whose sides are bounded from below too: a box shrinks to 16/1000 of its anchor at the most.

    code: ``delta2bbox``, ``wh_ratio_clip``.
    """

    def decode_single(self, rel_codes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Apply deltas ``(N, 4 * K)`` to boxes ``(N, 4)`` and return ``(N, 4 * K)``."""
        limits = [-torch.inf, -torch.inf, *(-self.bbox_xform_clip * weight for weight in self.weights[2:])]
        lowest = rel_codes.new_tensor(limits).repeat(rel_codes.shape[1] // 4)
        return super().decode_single(rel_codes.maximum(lowest), boxes)


def within_padding(anchors: torch.Tensor, image_size: tuple[int, int], divisor: int) -> torch.Tensor:
    """Tell which anchors ``(N, 4)`` are centred on an image or its own padding to a multiple of ``divisor``.

    The others lie where a batch was padded to the size of a larger image; no loss is taken there.

    Args:
        anchors: Corners, in pixels.
        image_size: Height and width before any padding.
        divisor: What an image alone would be padded to a multiple of.

    code: ``valid_flags`` of the anchors.
    """
    height, width = (-(-side // divisor) * divisor for side in image_size)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    # Centres are whole pixels but for rounding.
    return (centres < centres.new_tensor([width, height]) - 0.5).all(dim=1)
