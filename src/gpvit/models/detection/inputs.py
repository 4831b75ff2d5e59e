"""What users give a detector: images and targets checked, and made into a padded batch as for the published results."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes

from gpvit.errors import UserError
from gpvit.runtime.resizing import fitted_size

Maps = list[torch.Tensor]
"""``(B, channels, h_i, w_i)`` each, from the finest to the coarsest."""
Size = tuple[int, int]
"""Height and width, in pixels."""
Target = dict[str, torch.Tensor]
"""``boxes`` (M, 4), ``labels`` (M,) from 1, and for masks ``masks`` (M, H, W) of the M objects of an image."""
Detections = dict[str, torch.Tensor]
"""``boxes`` (N, 4), ``labels`` (N,) from 1, ``scores`` (N,), and what else is known of the N objects of an image."""

DIVISOR = 32
"""Batches are padded to a multiple of this many pixels, as the adapter needs."""
_SLACK = 1.0  # pixels that a box may reach beyond its image by rounding


class RoundedResize(GeneralizedRCNNTransform):
    """Normalisation, resizing to a rounded size of at least a pixel, and padding to a multiple of 32.

    torchvision, whose arguments these are, rounds sizes down, and so loses images of extreme shapes.

    code: ``Resize(keep_ratio=True)`` and ``Pad(size_divisor=32)`` of the released configurations.
    """

    def __init__(self, *args: Any, resize_in_training: bool = True):
        super().__init__(*args, size_divisible=DIVISOR)
        self.resize_in_training = resize_in_training

    def resize(self, image: torch.Tensor, target: Target | None = None) -> tuple[torch.Tensor, Target | None]:
        """Resize an image ``(C, H, W)``, bilinearly, and its target along with it, to fit both sides."""
        if self.training and not self.resize_in_training:
            return image, target
        height, width = image.shape[-2:]
        short = self.torch_choice(self.min_size) if self.training else self.min_size[-1]
        size = fitted_size((height, width), (self.max_size, short))
        if size == (height, width):
            return image, target
        image = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
        if target is not None:
            target["boxes"] = resize_boxes(target["boxes"], [height, width], list(size))
            if "masks" in target:
                masks = target["masks"][:, None].to(torch.uint8)
                target["masks"] = F.interpolate(masks, size, mode="nearest")[:, 0]
        return image, target


def check_images(images: Sequence[torch.Tensor], in_chans: int) -> None:
    """Refuse what is no list of floating-point ``(in_chans, H, W)``; the image is named by its place in the list."""
    if not len(images):
        raise UserError("no images; give a list of at least one tensor (channels, height, width)")
    for i, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != in_chans or 0 in image.shape:
            raise UserError(f"image {i} must have the shape ({in_chans}, height, width); got {tuple(image.shape)}")
        if not image.is_floating_point():
            raise UserError(f"image {i} is {image.dtype}; scale it to floats in [0, 1]")


def check_targets(
    targets: Sequence[Target] | None, images: Sequence[torch.Tensor], num_classes: int, masks: bool
) -> None:
    """Refuse targets in which something is missing or makes no sense; the first such image and box are named.

    They are torchvision's: of each image ``boxes`` ``(M, 4)`` float, ``labels`` ``(M,)`` int64 from 1 and, if needed,
    ``masks`` ``(M, H, W)``; it may have no objects.
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
