"""Which ground truth each anchor or proposal is to find."""

import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

_MATRIX_ENTRIES = 2**25
"""Entries of the largest matrix of overlaps that is made at once (128 MiB)."""


class BestMatcher(Matcher):
    """Matcher in which every ground truth also takes its best boxes, if those are good enough.

    A box belongs to the ground truth that it overlaps most, if by at least ``high_threshold``. Besides, each ground
    truth takes the boxes that overlap it as much as any does, even from another ground truth; the later one wins.
    In torchvision such boxes go to the ground truth that they overlap most, and however little they overlap it.

    It takes boxes instead of their overlaps, and never holds all overlaps of many ground truths at once.

    Args:
        high_threshold: Overlap from which a box is a match.
        low_threshold: Overlap below which a box is background; between the two it is neither.
        least_best: Overlap from which the best boxes of a ground truth are its matches.

    code: ``MaxIoUAssigner``, ``min_pos_iou``, ``gt_max_assign_all``.
    """

    def __init__(self, high_threshold: float, low_threshold: float, least_best: float):
        super().__init__(high_threshold, low_threshold, allow_low_quality_matches=True)
        self.least_best = least_best

    def __call__(self, truth: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Match boxes ``(N, 4)`` with ground truth ``(M, 4)``, which may be none.

        Returns:
            Index of each box's ground truth, or ``BELOW_LOW_THRESHOLD`` or ``BETWEEN_THRESHOLDS``; int64 ``(N,)``.
        """
        overlap = boxes.new_zeros(len(boxes))
        nearest, taken = (torch.full_like(overlap, self.BELOW_LOW_THRESHOLD, dtype=torch.int64) for _ in range(2))
        for start, some in _chunks(truth, _MATRIX_ENTRIES // max(len(boxes), 1)):
            quality = box_iou(some, boxes)
            best, index = quality.max(dim=0)
            nearest = torch.where(best > overlap, index + start, nearest)
            overlap = best.maximum(overlap)
            taken = taken.maximum(self._taken(quality, start))
        matches = torch.where(overlap >= self.high_threshold, nearest, self.BETWEEN_THRESHOLDS)
        matches = torch.where(overlap < self.low_threshold, self.BELOW_LOW_THRESHOLD, matches)
        return torch.where(taken >= 0, taken, matches)

    def _taken(self, quality: torch.Tensor, start: int) -> torch.Tensor:
        """Return, for each of N boxes, the last ground truth that takes it as its best, or -1.

        Args:
            quality: Overlaps ``(M, N)``.
            start: Index of the first ground truth among all.
        """
        taken = torch.full_like(quality[0], -1, dtype=torch.int64)
        if not quality.shape[1]:
            return taken
        best = quality.max(dim=1, keepdim=True).values
        truth, box = torch.where((quality == best) & (best >= self.least_best) & (best > 0))
        return taken.scatter_reduce(0, box, truth + start, reduce="amax")


def _chunks(truth: torch.Tensor, size: int) -> list[tuple[int, torch.Tensor]]:
    """Cut ground truth into chunks of at most ``size``, each with the index at which it starts."""
    size = max(size, 1)
    return [(start, truth[start : start + size]) for start in range(0, len(truth), size)]
