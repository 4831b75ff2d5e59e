"""The region proposal network of Mask R-CNN (Faster R-CNN, arXiv 1506.01497)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers

from gpvit.models.detection.assign import BETWEEN_THRESHOLDS, BestMatcher, FixedStrideAnchors, bounded_deltas
from gpvit.models.detection.inputs import Maps, Size, Target


class L1RegionProposalNetwork(RegionProposalNetwork):
    """Region proposals with plain L1 box losses, anchors of fixed strides and bounded deltas.

    Boxes and scores are float32 whatever the maps are. Each map may bring as many boxes into suppression as may remain
    after it, `proposals_per_image`, in training twice as many.

    code: ``rpn_head`` and ``train_cfg.rpn`` of the released configurations.
    """

    def __init__(
        self, channels: int, strides: Sequence[int], anchor_scale: float = 8.0, proposals_per_image: int = 1000
    ):
        anchors = FixedStrideAnchors(strides, [anchor_scale])
        super().__init__(
            anchor_generator=anchors,
            head=RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2 * proposals_per_image, "testing": proposals_per_image},
            post_nms_top_n={"training": proposals_per_image, "testing": proposals_per_image},
            nms_thresh=0.7,
        )
        self.proposal_matcher = BestMatcher(0.7, 0.3, least_best=0.3)
        self.min_size = torch.finfo(torch.float32).tiny  # any box that is not empty

    def forward(
        self, features: Maps, image_sizes: list[Size], targets: list[Target] | None = None
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Propose boxes ``(N, 4)`` for each image, best first, and compute the losses where targets are given."""
        objectness, deltas = self.head(features)
        per_level = [level[0].numel() for level in objectness]
        objectness, deltas = (t.float() for t in concat_box_prediction_layers(objectness, deltas))
        anchors = [torch.cat(self.anchor_generator(features))] * len(image_sizes)
        bounded = bounded_deltas(deltas.detach(), self.box_coder)
        proposals = self.box_coder.decode(bounded, anchors).view(len(image_sizes), -1, 4)
        boxes, _ = self.filter_proposals(proposals, objectness, image_sizes, per_level)
        if targets is None:
            return boxes, {}
        labels, matched = self.assign_targets_to_anchors(anchors, targets, image_sizes)
        shifts = self.box_coder.encode(matched, anchors)
        objectness_loss, box_loss = self.compute_loss(objectness, deltas, labels, shifts)
        return boxes, {"loss_objectness": objectness_loss, "loss_rpn_box_reg": box_loss}

    def assign_targets_to_anchors(
        self, anchors: list[torch.Tensor], targets: list[Target], image_sizes: list[Size]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Label each image's anchors, 1.0 object, 0.0 background, -1.0 neither, and give those of objects their box."""
        labels, matched = [], []
        for own, target, size in zip(anchors, targets, image_sizes, strict=True):
            matches = self.proposal_matcher.match_anchors(target["boxes"], own, size)
            found = matches >= 0
            labels.append(found.float().masked_fill(matches == BETWEEN_THRESHOLDS, -1.0))
            boxes = own.clone()
            boxes[found] = target["boxes"][matches[found]].to(boxes)
            matched.append(boxes)
        return labels, matched

    def compute_loss(
        self,
        objectness: torch.Tensor,
        pred_bbox_deltas: torch.Tensor,
        labels: list[torch.Tensor],
        regression_targets: list[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sample anchors, and compute the losses of objectness (cross-entropy) and of boxes (L1)."""
        positive, negative = (torch.where(torch.cat(chosen))[0] for chosen in self.fg_bg_sampler(labels))
        sampled = torch.cat([positive, negative])
        wanted = torch.cat(labels)[sampled]
        objectness_loss = F.binary_cross_entropy_with_logits(objectness.flatten()[sampled], wanted)
        distance = F.l1_loss(pred_bbox_deltas[positive], torch.cat(regression_targets)[positive], reduction="sum")
        return objectness_loss, distance / len(sampled)
