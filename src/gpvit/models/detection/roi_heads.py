"""The second stage of Mask R-CNN (arXiv 1703.06870): class, box and mask of each proposal."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_inference
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import roi_align

from gpvit.models.detection.assign import BestMatcher, bounded_deltas
from gpvit.models.detection.detector import best_of_each_class
from gpvit.models.detection.inputs import Detections, Maps, Size, Target
from gpvit.models.detection.masks import crop_masks

_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_FINEST_SIDE = 56.0  # pixels; boxes of up to twice this are pooled from the first map


class AlignedPyramidPool(nn.Module):
    """Aligned RoIAlign, as many samples as pixels need, from the map of fixed stride that suits each box's size.

    code: ``SingleRoIExtractor``.
    """

    def __init__(self, output_size: int, strides: Sequence[int]):
        super().__init__()
        self.output_size = output_size
        self.strides = tuple(strides)

    def forward(self, features: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Pool over the boxes ``(N, 4)`` of each image: ``(all N, C, S, S)``; more maps than strides are not used."""
        rois = torch.cat([F.pad(own, (1, 0), value=float(i)) for i, own in enumerate(boxes)])
        levels = self.levels(rois[:, 1:])
        pooled = features[0].new_zeros((len(rois), features[0].shape[1], self.output_size, self.output_size))
        for level, stride in enumerate(self.strides):
            chosen = torch.where(levels == level)[0]
            values = roi_align(features[level].to(rois), rois[chosen], self.output_size, 1 / stride, 0, aligned=True)
            pooled[chosen] = values.to(pooled)
        return pooled

    def levels(self, boxes: torch.Tensor) -> torch.Tensor:
        """Choose the map for each of the boxes ``(N, 4)``: one level coarser each time the size doubles."""
        side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
        return (side / _FINEST_SIDE + 1e-6).log2().floor().clamp(0, len(self.strides) - 1).long()


class ForegroundBoxPredictor(FastRCNNPredictor):
    """Logits of the background and of K classes, but box deltas of the classes alone; both in float32."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__(in_channels, num_classes + 1)
        self.bbox_pred = nn.Linear(in_channels, 4 * num_classes)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict logits ``(N, 1 + K)``, background first, and deltas ``(N, 4 * K)`` from ``(N, in_channels)``."""
        logits, deltas = super().forward(x)
        return logits.float(), deltas.float()


class L1RoIHeads(RoIHeads):
    """Box and mask heads with plain L1 box losses, batch norm in the box head, and the code's matching and pooling.

    Labels are 1 to K, and 0 is the background. Of the proposals trained on, a quarter are objects at the most.

    code: ``roi_head`` (``Shared4Conv1FCBBoxHead``, ``FCNMaskHead``) and ``rcnn`` of the released configurations.
    """

    def __init__(self, num_classes: int, channels: int, strides: Sequence[int], rois_per_image: int = 512):
        super().__init__(
            box_roi_pool=AlignedPyramidPool(7, strides),
            box_head=FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [4 * channels], nn.BatchNorm2d),
            box_predictor=ForegroundBoxPredictor(4 * channels, num_classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=rois_per_image,
            positive_fraction=0.25,
            bbox_reg_weights=_BOX_WEIGHTS,
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=100,
            mask_roi_pool=AlignedPyramidPool(14, strides),
            mask_head=MaskRCNNHeads(channels, [channels] * 4, dilation=1),
            mask_predictor=MaskRCNNPredictor(channels, channels, num_classes),
        )
        self.proposal_matcher = BestMatcher(0.5, 0.5, least_best=0.5)
        for module in self.box_head:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.mask_predictor:
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, features: Maps, proposals: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        """Compute the losses by name of the proposals ``(N, 4)`` of each image; see :meth:`detect` for detections."""
        proposals, matches, labels, deltas = self.select_training_samples(proposals, targets)
        losses = self._box_losses(features, proposals, torch.cat(labels), torch.cat(deltas))
        objects = [own > 0 for own in labels]
        boxes = [own[is_object] for own, is_object in zip(proposals, objects, strict=True)]
        wanted = [
            crop_masks(target["masks"], own, index[is_object], 28)
            for target, own, index, is_object in zip(targets, boxes, matches, objects, strict=True)
        ]
        classes = torch.cat(labels)[torch.cat(objects)] - 1
        return {**losses, "loss_mask": self._mask_loss(features, boxes, classes, torch.cat(wanted))}

    def assign_targets_to_proposals(
        self, proposals: list[torch.Tensor], gt_boxes: list[torch.Tensor], gt_labels: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the index of each proposal's ground truth, or 0, and its label, 0 for the background.

        The last proposals are the ground truth itself, which ``add_gt_proposals`` appended; it takes no part in the
        matching, or each object would be its own best proposal.
        """
        indices, labels = [], []
        for own, boxes, classes in zip(proposals, gt_boxes, gt_labels, strict=True):
            matches = self.proposal_matcher(boxes, own[: len(own) - len(boxes)])
            matches = torch.cat([matches, torch.arange(len(boxes), device=matches.device)])
            label = torch.zeros_like(matches)
            label[matches >= 0] = classes[matches[matches >= 0]]
            indices.append(matches.clamp(min=0))
            labels.append(label)
        return indices, labels

    def _box_losses(
        self, features: Maps, boxes: list[torch.Tensor], labels: torch.Tensor, deltas: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        logits, predicted = self.box_predictor(self.box_head(self.box_roi_pool(features, boxes)))
        objects = torch.where(labels > 0)[0]
        own = predicted.unflatten(1, (-1, 4))[objects, labels[objects] - 1]
        distance = F.l1_loss(own, deltas[objects], reduction="sum")
        return {"loss_classifier": F.cross_entropy(logits, labels), "loss_box_reg": distance / len(labels)}

    def _mask_loss(
        self, features: Maps, boxes: list[torch.Tensor], classes: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        logits = self._mask_logits(features, boxes)
        if not len(classes):
            return logits.sum() * 0  # so that all parameters have a gradient
        own = logits[torch.arange(len(classes), device=classes.device), classes]
        return F.binary_cross_entropy_with_logits(own, wanted)

    def _mask_logits(self, features: Maps, boxes: list[torch.Tensor]) -> torch.Tensor:
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes))).float()

    def detect(
        self, features: Maps, proposals: list[torch.Tensor], image_sizes: list[Size], original_sizes: list[Size]
    ) -> list[Detections]:
        """Detect objects in the images' proposals; ``masks`` ``(N, 1, 28, 28)`` are probabilities within each box.

        The answer is for the sizes that the images, of these sizes before padding, were resized from.
        """
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals)))
        counts = [len(own) for own in proposals]
        deltas = bounded_deltas(deltas, self.box_coder)
        boxes = self.box_coder.decode_single(deltas, torch.cat(proposals)).unflatten(1, (-1, 4)).split(counts)
        scores = logits.softmax(dim=1)[:, 1:].split(counts)
        detections = []
        for own, score, size, original in zip(boxes, scores, image_sizes, original_sizes, strict=True):
            roi, label = torch.where(score > self.score_thresh)
            found = (own[roi, label], score[roi, label], label + 1)
            detections.append(best_of_each_class(*found, size, original, self.nms_thresh, self.detections_per_img))
        inputs = [
            resize_boxes(found["boxes"], list(original), list(size))
            for found, original, size in zip(detections, original_sizes, image_sizes, strict=True)
        ]
        masks = maskrcnn_inference(self._mask_logits(features, inputs), [found["labels"] - 1 for found in detections])
        return [{**found, "masks": own} for found, own in zip(detections, masks, strict=True)]
