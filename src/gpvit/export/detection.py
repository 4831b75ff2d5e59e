"""Detectors as graphs: batches of equal images in, a fixed number of detections out, whatever is found.

The numbers are those of :class:`gpvit.models.detection.detector.Detector`; what there is a list that grows with what is
found, is here a tensor with places left empty.

Shape letters: B batch, N boxes of an image, M detections of an image, K classes, C channels, L levels, S side of what
is pooled of a box.
"""

from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import roi_align

from gpvit.errors import UserError
from gpvit.models.detection.assign import bounded_deltas
from gpvit.models.detection.inputs import DIVISOR, Maps, Size
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.models.detection.retinanet import RetinaNet
from gpvit.models.detection.roi_heads import AlignedPyramidPool
from gpvit.ops.suppression import ABSENT, suppress

_NOWHERE = (-1e4, -1e4, 1 - 1e4, 1 - 1e4)
"""A box beyond any image, all samples of which are zero; of an empty one OpenVINO makes not a number."""


class DetectionGraph(nn.Module):
    """A detector that exporters can follow, for every batch, height and width.

    Args:
        model: A :class:`MaskRCNN` or :class:`RetinaNet`; its thresholds are those of the graph.
        uint8: Take images as bytes ``(B, H, W, C)`` of any size, which are scaled, resized and normalised as by the
            model; else normalised floats ``(B, C, H, W)``, which are neither. Both are padded inside.

    Attributes:
        output_names: Name of each output, in their order.

    Raises:
        UserError: If the model is no detector.

    Example:
        >>> graph = DetectionGraph(RetinaNet("gpvit_nano", num_classes=3, min_size=64).eval(), uint8=True)
        >>> [tuple(x.shape) for x in graph(torch.zeros(2, 60, 80, 3, dtype=torch.uint8))]
        [(2, 100, 4), (2, 100), (2, 100)]
    """

    def __init__(self, model: nn.Module, uint8: bool = False):
        super().__init__()
        if not isinstance(model, MaskRCNN | RetinaNet):
            raise UserError(f"expected a MaskRCNN or a RetinaNet, got {type(model).__name__}")
        self.model = model
        self.uint8 = uint8
        self.output_names = ["boxes", "labels", "scores", *(["masks"] if model.has_masks else [])]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect objects, best first; unused places have score 0, label 0 and an empty box.

        Returns:
            Boxes ``(B, M, 4)`` in pixels of the given image, labels ``(B, M)`` from 1 and scores ``(B, M)``; of Mask
            R-CNN also masks ``(B, M, 28, 28)``, probabilities within each box.
        """
        given = (images.shape[1], images.shape[2]) if self.uint8 else (images.shape[2], images.shape[3])
        if self.uint8:
            images = self._prepared(images)
        size = (images.shape[2], images.shape[3])
        bottom, right = ((side + DIVISOR - 1) // DIVISOR * DIVISOR - side for side in size)
        features = list(self.model.backbone(F.pad(images, (0, right, 0, bottom))).values())
        if isinstance(self.model, RetinaNet):
            return _detect_in_one_stage(self.model, features, size, given)
        return _detect_in_two_stages(self.model, features, size, given)

    def _prepared(self, images: torch.Tensor) -> torch.Tensor:
        transform = self.model.transform
        normalised = transform.normalize(images.permute(0, 3, 1, 2).float() / 255)
        size = fitted_size_in_integers((images.shape[1], images.shape[2]), transform.min_size[-1], transform.max_size)
        return F.interpolate(normalised, size, mode="bilinear", align_corners=False)


def fitted_size_in_integers(size: Size, short: int, long: int) -> Size:
    """Do as ``fitted_size`` in integers, which a graph may compute for every size and runtime alike.

    Of ten thousand sizes less than one has a side that ends at half a pixel exactly, which is rounded up here and by
    the rounding of floats sometimes down there.
    """
    least, most = torch.sym_min(*size), torch.sym_max(*size)
    fits = (((2 * side * short + least) // (2 * least), (2 * side * long + most) // (2 * most)) for side in size)
    height, width = (torch.sym_max(torch.sym_min(*both), 1) for both in fits)
    return height, width


def _detect_in_one_stage(model: RetinaNet, features: Maps, size: Size, given: Size) -> tuple[torch.Tensor, ...]:
    logits, deltas = model.predict(features)
    anchors = model.anchor_generator(features)
    levels = _best_pairs(logits, deltas, anchors, model.box_coder, model.topk_candidates, model.score_thresh)
    boxes, scores, labels = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
    boxes = _resized(_clipped(boxes, size), size, given)
    of_class = torch.arange(1, model.num_classes + 1, device=labels.device)[:, None] == labels[:, None]  # (B, K, N)
    kept = suppress(boxes, scores[:, None].where(of_class, ABSENT), model.nms_thresh).amax(dim=1)
    scores, index = _best(kept, model.detections_per_img)
    return _found(_take(boxes, index), labels.gather(1, index), scores)


def _detect_in_two_stages(model: MaskRCNN, features: Maps, size: Size, given: Size) -> tuple[torch.Tensor, ...]:
    heads = model.roi_heads
    proposals, exists = _propose(model, features, size)
    count = proposals.shape[1]
    logits, deltas = heads.box_predictor(heads.box_head(_pool(heads.box_roi_pool, features, proposals)))
    decoded = heads.box_coder.decode_single(bounded_deltas(deltas, heads.box_coder), proposals.flatten(0, 1))
    boxes = decoded.unflatten(1, (-1, 4)).unflatten(0, (-1, count)).transpose(1, 2)  # (B, K, N, 4)
    boxes = _resized(_clipped(boxes, size), size, given)
    scores = logits.softmax(dim=1)[:, 1:].unflatten(0, (-1, count)).transpose(1, 2)  # (B, K, N)
    scores = scores.where((scores > heads.score_thresh) & exists[:, None], ABSENT)
    kept = suppress(boxes.flatten(0, 1), scores.flatten(0, 1)[:, None], heads.nms_thresh)
    scores, index = _best(kept.view(-1, model.num_classes * count), heads.detections_per_img)
    boxes, labels, scores = _found(_take(boxes.flatten(1, 2), index), index // count + 1, scores)

    pooled = _pool(heads.mask_roi_pool, features, _resized(boxes, given, size))
    masks = heads.mask_predictor(heads.mask_head(pooled)).float()  # (B * M, K, 28, 28)
    own = (labels - 1).clamp(min=0).view(-1, 1, 1, 1).expand(-1, 1, *masks.shape[2:])
    masks = masks.gather(1, own).sigmoid().view(-1, scores.shape[1], *masks.shape[2:])
    return boxes, labels, scores, masks.where((labels > 0)[..., None, None], 0.0)


def _propose(model: MaskRCNN, features: Maps, size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Propose boxes ``(B, N, 4)``, best first, and tell which of them exist, ``(B, N)``."""
    rpn = model.rpn
    logits, deltas = (
        level.float().unflatten(0, (features[0].shape[0], -1))
        for level in concat_box_prediction_layers(*rpn.head(features))
    )
    anchors = rpn.anchor_generator(features)
    levels = _best_pairs(logits, deltas, anchors, rpn.box_coder, rpn.pre_nms_top_n(), -torch.inf)
    boxes, scores, _ = (torch.stack(parts, dim=1) for parts in zip(*levels, strict=True))  # (B, L, N, 4), (B, L, N)
    boxes = _clipped(boxes, size)
    scores = scores.where((boxes[..., 2:] - boxes[..., :2] >= rpn.min_size).all(dim=-1), ABSENT)
    kept = suppress(boxes.flatten(0, 1), scores.flatten(0, 1)[:, None], rpn.nms_thresh)
    scores, index = _best(kept.view(-1, scores.shape[1] * scores.shape[2]), rpn.post_nms_top_n())
    return _take(boxes.flatten(1, 2), index), scores >= 0


def _best_pairs(
    logits: torch.Tensor, deltas: torch.Tensor, anchors: list[torch.Tensor], coder: Any, count: int, threshold: float
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Return boxes ``(B, count, 4)``, scores and labels of the best pairs of an anchor and a class of each map."""
    counts = [level.shape[0] for level in anchors]  # len() would fix the size
    classes = logits.shape[2]
    levels = []
    for level, shifts, own in zip(logits.split(counts, 1), deltas.split(counts, 1), anchors, strict=True):
        best, pair = F.pad(level.flatten(1), (0, count), value=-torch.inf).topk(count)
        exists = best > -torch.inf
        pair = pair.where(exists, 0)
        anchor = pair // classes
        bounded = bounded_deltas(_take(shifts, anchor).flatten(0, 1), coder)
        boxes = coder.decode_single(bounded, own[anchor.flatten()]).unflatten(0, (-1, count))
        scores = best.sigmoid()
        scores = scores.where(exists & (scores > threshold), ABSENT)
        levels.append((boxes, scores, pair % classes + 1))
    return levels


def _best(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the best scores ``(B, count)`` of ``(B, N)`` and their index, which is 0 where there are too few."""
    missing = max(count - scores.shape[1], 0)
    best, index = F.pad(scores, (0, missing), value=ABSENT).topk(count)
    return best, index.where(best >= 0, 0)


def _found(boxes: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Empty the places of boxes, labels and scores that hold none."""
    exists = scores >= 0
    return boxes.where(exists[..., None], 0.0), labels.where(exists, 0), scores.where(exists, 0.0)


def _take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Take rows ``(B, M)`` of ``(B, N, 4)``."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))


def _clipped(boxes: torch.Tensor, size: Size) -> torch.Tensor:
    return boxes.clamp(min=0).minimum(_sides(size, boxes))


def _resized(boxes: torch.Tensor, size: Size, new_size: Size) -> torch.Tensor:
    return boxes * (_sides(new_size, boxes) / _sides(size, boxes))


def _sides(size: Size, boxes: torch.Tensor) -> torch.Tensor:
    """Return width, height, width, height as a tensor that is filled, not copied from a list that fixes the size."""
    height, width = (boxes.new_full((), side) for side in size)
    return torch.stack([width, height, width, height])


def _pool(pool: AlignedPyramidPool, features: Maps, boxes: torch.Tensor) -> torch.Tensor:
    """Pool over boxes ``(B, N, 4)`` as `pool` does over lists, to ``(B * N, C, S, S)``.

    Every map is pooled over as many boxes; those that belong to another lie where they cost next to nothing.
    """
    image = torch.arange(boxes.shape[0], device=boxes.device).to(boxes)
    rois = torch.cat([image[:, None, None].expand(-1, boxes.shape[1], 1), boxes], dim=-1).flatten(0, 1)
    levels = pool.levels(rois[:, 1:]).where((rois[:, 3:] > rois[:, 1:3]).all(dim=1), -1)
    nowhere = rois.new_tensor([0.0, *_NOWHERE])
    pooled = (
        roi_align(
            features[level].to(rois),
            rois.where((levels == level)[:, None], nowhere),
            pool.output_size,
            1 / stride,
            sampling_ratio=0,
            aligned=True,
        )
        for level, stride in enumerate(pool.strides)
    )
    return reduce(torch.add, pooled).to(features[0])
