"""Anchors, the deltas that lead from them to boxes, and which ground truth each is to find."""

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from gpvit.models.detection.inputs import DIVISOR, Size

ASPECT_RATIOS = (0.5, 1.0, 2.0)
BELOW_LOW_THRESHOLD, BETWEEN_THRESHOLDS = -1, -2
"""What is matched with no ground truth: background, and what takes no part in the losses; torchvision's numbers."""

_MATRIX_ENTRIES = 2**25
"""Entries of the largest matrix of overlaps that is made at once (128 MiB)."""


class FixedStrideAnchors(AnchorGenerator):
    """Anchors whose strides are given, whose sides are not rounded, and which are float32 whatever the maps are.

    An anchor is centred on the upper left corner of its cell, as in torchvision; there, however, the stride is inferred
    from the sizes of image and map, which is off where a map was rounded up. Scales are sides of square anchors, in
    strides.

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
        """Make the anchors around the origin, ``(ratios * scales, 4)``, all scales (in pixels) of a ratio together."""
        sides = torch.tensor(scales, dtype=dtype, device=device)
        heights = torch.tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        half = torch.stack([torch.outer(1 / heights, sides), torch.outer(heights, sides)], dim=-1).flatten(0, 1) / 2
        return torch.cat([-half, half], dim=1)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Make the anchors ``(h_i * w_i * anchors, 4)`` of each map ``(B, C, h_i, w_i)``, row by row."""
        self.set_cell_anchors(torch.float32, maps[0].device)
        grids = [list(m.shape[-2:]) for m in maps]
        return self.grid_anchors(grids, [[stride, stride] for stride in self.strides])


def bounded_deltas(deltas: torch.Tensor, coder: Any) -> torch.Tensor:
    """Bound deltas ``(N, 4 * K)`` from below too: a box shrinks to 16/1000 of its anchor at the most.

    torchvision's coder of boxes bounds them from above when it decodes them.

    code: ``delta2bbox``, ``wh_ratio_clip``.
    """
    limits = [-torch.inf, -torch.inf, *(-coder.bbox_xform_clip * weight for weight in coder.weights[2:])]
    return deltas.maximum(deltas.new_tensor(limits).repeat(deltas.shape[1] // 4))


def within_padding(anchors: torch.Tensor, image_size: Size, divisor: int) -> torch.Tensor:
    """Tell which anchors ``(N, 4)`` are centred on an image or its own padding to a multiple of ``divisor``.

    The others lie where a batch was padded to the size of a larger image; no loss is taken there.

    code: ``valid_flags`` of the anchors.
    """
    height, width = (-(-side // divisor) * divisor for side in image_size)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    # Centres are whole pixels but for rounding.
    return (centres < centres.new_tensor([width, height]) - 0.5).all(dim=1)


class BestMatcher:
    """torchvision's ``Matcher``, but every ground truth also takes its best boxes, if those are good enough.

    A box belongs to the ground truth that it overlaps most, if by at least ``high_threshold``. Besides, each ground
    truth takes the boxes that overlap it as much as any does, even from another ground truth; the later one wins.
    In torchvision such boxes go to the ground truth that they overlap most, and however little they overlap it.

    Below `low_threshold` a box is background, between the two it is neither, and from `least_best` on the best boxes of
    a ground truth are its matches. The matcher takes boxes instead of their overlaps, and never holds all overlaps of
    many ground truths at once.

    code: ``MaxIoUAssigner``, ``min_pos_iou``, ``gt_max_assign_all``.
    """

    def __init__(self, high_threshold: float, low_threshold: float, least_best: float):
        self.high_threshold, self.low_threshold, self.least_best = high_threshold, low_threshold, least_best

    def __call__(self, truth: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the index of the ground truth ``(M, 4)`` for each of the boxes ``(N, 4)``, or what stands for none."""
        overlap = boxes.new_zeros(len(boxes))
        nearest, taken = (torch.full_like(overlap, BELOW_LOW_THRESHOLD, dtype=torch.int64) for _ in range(2))
        at_once = max(_MATRIX_ENTRIES // max(len(boxes), 1), 1)
        for start in range(0, len(truth), at_once):
            quality = box_iou(truth[start : start + at_once], boxes)
            best, index = quality.max(dim=0)
            nearest = torch.where(best > overlap, index + start, nearest)
            overlap = best.maximum(overlap)
            taken = taken.maximum(self._taken(quality, start))
        matches = torch.where(overlap >= self.high_threshold, nearest, BETWEEN_THRESHOLDS)
        matches = torch.where(overlap < self.low_threshold, BELOW_LOW_THRESHOLD, matches)
        return torch.where(taken >= 0, taken, matches)

    def match_anchors(self, truth: torch.Tensor, anchors: torch.Tensor, image_size: Size) -> torch.Tensor:
        """Match anchors ``(N, 4)`` with an image's ground truth ``(M, 4)``; no loss is taken beyond its own padding."""
        return torch.where(within_padding(anchors, image_size, DIVISOR), self(truth, anchors), BETWEEN_THRESHOLDS)

    def _taken(self, quality: torch.Tensor, start: int) -> torch.Tensor:
        """Return, for each box, the last ground truth, counted from `start`, that takes it as its best, or -1."""
        taken = torch.full_like(quality[0], -1, dtype=torch.int64)
        if not quality.shape[1]:
            return taken
        best = quality.max(dim=1, keepdim=True).values
        truth, box = torch.where((quality == best) & (best >= self.least_best) & (best > 0))
        return taken.scatter_reduce(0, box, truth + start, reduce="amax")
