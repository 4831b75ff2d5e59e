"""What both detectors do last: the best boxes of each class, in the original image."""

import torch
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import batched_nms, clip_boxes_to_image

Size = tuple[int, int]
"""Height and width, in pixels."""
Detections = dict[str, torch.Tensor]
"""``boxes`` (N, 4), ``labels`` (N,) from 1, ``scores`` (N,), and what else is known of the N objects of an image."""


def resized(boxes: torch.Tensor, size: Size, new_size: Size) -> torch.Tensor:
    """Move boxes ``(N, 4)`` along as an image is resized."""
    return resize_boxes(boxes, list(size), list(new_size))


def best_of_each_class(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    labels: torch.Tensor,
    image_size: Size,
    original_size: Size,
    overlap: float,
    limit: int,
) -> Detections:
    """Suppress what overlaps a better box of its class, after the boxes are those of the original image.

    torchvision suppresses first and resizes then; where the sides are scaled differently, overlaps are the same but
    for rounding.

    Args:
        boxes: Corners ``(N, 4)``, in pixels of the resized image.
        scores: Probabilities ``(N,)``.
        labels: Classes ``(N,)``.
        image_size: Size of the resized image; boxes are clipped to it.
        original_size: Size that it was resized from.
        overlap: Intersection over union above which the worse box is left out.
        limit: Boxes to keep.

    Returns:
        The best, best first. code: boxes of which clipping left nothing are not taken out.

    code: ``rescale`` in ``_bbox_post_process`` and ``multiclass_nms``.
    """
    boxes = resized(clip_boxes_to_image(boxes, image_size), image_size, original_size)
    kept = batched_nms(boxes, scores, labels, overlap)[:limit]
    return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}
