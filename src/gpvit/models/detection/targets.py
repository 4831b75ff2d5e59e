"""Checks of what users give a detector."""

from collections.abc import Sequence

import torch

from gpvit.errors import UserError

_SLACK = 1.0  # pixels that a box may reach beyond its image by rounding


def check_images(images: Sequence[torch.Tensor], in_chans: int) -> None:
    """Check that images are a non-empty list of floating-point ``(in_chans, H, W)``.

    Raises:
        ValueError: If they are not; the image is named by its place in the list.
    """
    if not len(images):
        raise UserError("no images; give a list of at least one tensor (channels, height, width)")
    for i, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != in_chans or 0 in image.shape:
            raise UserError(f"image {i} must have the shape ({in_chans}, height, width); got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise UserError(f"image {i} is {image.dtype}; scale it to floats in [0, 1]")


def check_targets(
    targets: Sequence[dict[str, torch.Tensor]] | None,
    images: Sequence[torch.Tensor],
    num_classes: int,
    masks: bool,
) -> None:
    """Check the targets of training, which are torchvision's; an image may have no objects.

    Args:
        targets: ``boxes`` ``(M, 4)`` float, ``labels`` ``(M,)`` int64 from 1, and ``masks`` ``(M, H, W)`` for each
            image.
        images: What the targets are of, ``(C, H, W)`` each.
        num_classes: The greatest label.
        masks: Whether masks are needed.

    Raises:
        ValueError: If something is missing or makes no sense; the first such image and box are named.
    """
    if targets is None or len(targets) != len(images):
        given = "none" if targets is None else len(targets)
        raise UserError(f"training needs a target for each of {len(images)} images; got {given}")
    for i, (target, image) in enumerate(zip(targets, images, strict=True)):
        needed = {"boxes", "labels", *(["masks"] if masks else [])}
        if missing := needed - target.keys():
            raise UserError(f"target {i} has no {', '.join(sorted(missing))}")
        height, width = image.shape[-2:]
        _check_boxes(target["boxes"], (height, width), i)
        _check_labels(target["labels"], len(target["boxes"]), num_classes, i)
        shape = (len(target["boxes"]), height, width)
        if masks and tuple(target["masks"].shape) != shape:
            raise UserError(
                f"masks of target {i} must be {shape}, one of the image's size for each box; "
                f"got {tuple(target['masks'].shape)}"
            )


def _check_boxes(boxes: torch.Tensor, size: tuple[int, int], i: int) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise UserError(f"boxes of target {i} must be floats (M, 4); got {boxes.dtype} {tuple(boxes.shape)}")
    height, width = size
    farthest = boxes.new_tensor([width, height]) + _SLACK
    proper = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, :2] >= -_SLACK) & (boxes[:, 2:] <= farthest)
    wrong = torch.where(~proper.all(dim=1))[0]  # NaN compares false
    if len(wrong):
        raise UserError(
            f"box {int(wrong[0])} of target {i} is {boxes[wrong[0]].tolist()} in an image {width} wide and {height} "
            "high; boxes are left, top, right, bottom in pixels, of positive width and height, within the image. "
            "torchvision's v2.ClampBoundingBoxes and v2.SanitizeBoundingBoxes clip boxes and remove empty ones"
        )


def _check_labels(labels: torch.Tensor, count: int, num_classes: int, i: int) -> None:
    if labels.shape != (count,) or labels.dtype != torch.int64:
        raise UserError(
            f"labels of target {i} must be int64 ({count},), one for each box; got {labels.dtype} {tuple(labels.shape)}"
        )
    if count and not 1 <= int(labels.min()) <= int(labels.max()) <= num_classes:
        raise UserError(
            f"labels of target {i} go from {int(labels.min())} to {int(labels.max())}; the model has classes "
            f"1 to {num_classes}, and 0 is the background"
        )
