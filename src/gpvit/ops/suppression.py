"""Non-maximum suppression of a fixed number of boxes, as an operator that exported graphs may hold."""

import torch
from torchvision.ops import nms

ABSENT = -1.0
"""Score of a place that holds no box."""


@torch.library.custom_op("gpvit::suppress", mutates_args=())
def suppress(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Mark the boxes absent that overlap a better one of their class by more than is allowed.

    ``torchvision.ops.nms`` for each image and class, but that results have the same shape whatever is found. A program
    that holds it (``.pt2``) is loaded where this module is imported.

    Args:
        boxes: Left, top, right, bottom, ``(B, N, 4)``, float32.
        scores: Score of each box in each of K classes, ``(B, K, N)``, float32; negative ones are absent.
        overlap: Intersection over union above which the worse of two boxes is suppressed.

    Returns:
        The scores, ``ABSENT`` where there is no box or it is suppressed.
    """
    kept = scores.new_full(scores.shape, ABSENT)
    present = scores >= 0
    for image, label in present.any(dim=2).nonzero().tolist():
        index = torch.where(present[image, label])[0]
        index = index[nms(boxes[image, index], scores[image, label, index], overlap)]
        kept[image, label, index] = scores[image, label, index]
    return kept


@suppress.register_fake
def _(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    return scores.new_empty(scores.shape)
