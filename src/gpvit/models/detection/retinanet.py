"""RetinaNet on a ViT-Adapter (paper Section 4.3; arXiv 1708.02002)."""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import Conv2dNormActivation, sigmoid_focal_loss
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from gpvit.models.detection.assign import BETWEEN_THRESHOLDS, BestMatcher, FixedStrideAnchors, bounded_deltas
from gpvit.models.detection.detector import Detector, best_of_each_class
from gpvit.models.detection.inputs import Detections, Maps, Size, Target

_STRIDES = (8, 16, 32, 64, 128)
_OCTAVE = tuple(2 ** (i / 3) for i in range(3))


class NormedExtraLevels(ExtraFPNBlock):
    """Two more levels, each a strided convolution with batch norm of the one before; no activation between them.

    code: ``add_extra_convs="on_output"``.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.ModuleList(
            Conv2dNormActivation(channels, channels, stride=2, activation_layer=None) for _ in range(2)
        )

    def forward(
        self, results: list[torch.Tensor], x: list[torch.Tensor], names: list[str]
    ) -> tuple[list[torch.Tensor], list[str]]:
        """Append two maps to ``results`` and their names to ``names``."""
        for conv in self.convs:
            results.append(conv(results[-1]))
        return results, [*names, "p6", "p7"]


class RetinaNet(Detector):
    """RetinaNet: boxes and classes of objects, in one stage, from maps of strides 8 to 128.

    The arguments are those of :class:`Detector`.

    Attributes:
        head: Class logits and box deltas of each anchor.
        score_thresh: Probability that a detection must exceed.
        topk_candidates: Pairs of an anchor and a class that each map may propose.
        nms_thresh: Intersection over union above which the worse of two boxes of a class is left out.
        detections_per_img: Detections of an image at the most.

    Example:
        >>> model = RetinaNet("gpvit_nano", num_classes=3, min_size=64).eval()
        >>> sorted(model([torch.rand(3, 60, 80)])[0])
        ['boxes', 'labels', 'scores']
    """

    num_outputs = 3
    coarsest_norm = 128
    head_names = ("head.classification_head.cls_logits.",)
    """What depends on the classes."""

    score_thresh = 0.05
    topk_candidates = 1000
    nms_thresh = 0.5
    detections_per_img = 100

    def extra_levels(self, channels: int) -> NormedExtraLevels:
        """Make what adds the maps of strides 64 and 128."""
        return NormedExtraLevels(channels)

    def build_heads(self, channels: int, anchor_scale: float = 4.0) -> None:  # type: ignore[override]
        """Make ``head``, and what it is trained and read with.

        Args:
            channels: Channels of the maps and of the head.
            anchor_scale: Side of the least square anchor of each map, in strides: by default 32 pixels on the finest.
        """
        self.anchor_generator = FixedStrideAnchors(_STRIDES, [anchor_scale * step for step in _OCTAVE])
        self.head = RetinaNetHead(channels, self.anchor_generator.num_anchors_per_location()[0], self.num_classes)
        self.box_coder = self.head.regression_head.box_coder
        self.matcher = BestMatcher(0.5, 0.4, least_best=0.0)

    def losses(self, features: Maps, image_sizes: list[Size], targets: list[Target]) -> dict[str, torch.Tensor]:
        """Compute the focal loss of classes and the L1 loss of boxes; see :meth:`Detector.losses`.

        Both are sums over the batch, divided by its anchors that are to find an object, at least one for each image.
        """
        logits, deltas = self.predict(features)
        anchors = torch.cat(self.anchor_generator(features))
        classification, regression = logits.new_zeros(()), logits.new_zeros(())
        objects = 0
        for own_logits, own_deltas, size, target in zip(logits, deltas, image_sizes, targets, strict=True):
            matches = self.matcher.match_anchors(target["boxes"], anchors, size)
            found = torch.where(matches >= 0)[0]
            wanted = torch.zeros_like(own_logits)
            wanted[found, target["labels"][matches[found]] - 1] = 1
            used = matches != BETWEEN_THRESHOLDS
            classification = classification + sigmoid_focal_loss(own_logits[used], wanted[used], reduction="sum")
            shifts = self.box_coder.encode_single(target["boxes"][matches[found]].to(anchors), anchors[found])
            regression = regression + F.l1_loss(own_deltas[found], shifts, reduction="sum")
            objects += max(len(found), 1)
        return {"classification": classification / objects, "bbox_regression": regression / objects}

    def detect(self, features: Maps, image_sizes: list[Size], original_sizes: list[Size]) -> list[Detections]:
        """Detect objects; see :meth:`Detector.detect`."""
        logits, deltas = self.predict(features)
        anchors = self.anchor_generator(features)
        counts = [len(level) for level in anchors]
        detections = []
        for i, (size, original) in enumerate(zip(image_sizes, original_sizes, strict=True)):
            levels = zip(logits[i].split(counts), deltas[i].split(counts), anchors, strict=True)
            boxes, scores, labels = (
                torch.cat(parts) for parts in zip(*(self._best(*level) for level in levels), strict=True)
            )
            detections.append(
                best_of_each_class(boxes, scores, labels, size, original, self.nms_thresh, self.detections_per_img)
            )
        return detections

    def predict(self, features: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute logits ``(B, anchors, K)`` and deltas ``(B, anchors, 4)``, in float32."""
        outputs = self.head(features)
        return outputs["cls_logits"].float(), outputs["bbox_regression"].float()

    def _best(
        self, logits: torch.Tensor, deltas: torch.Tensor, anchors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return boxes, scores and labels of the best pairs of an anchor and a class of one map."""
        scores = logits.sigmoid()
        anchor, label = torch.where(scores > self.score_thresh)
        best, order = scores[anchor, label].topk(min(len(anchor), self.topk_candidates))
        anchor, label = anchor[order], label[order]
        bounded = bounded_deltas(deltas[anchor], self.box_coder)
        return self.box_coder.decode_single(bounded, anchors[anchor]), best, label + 1
