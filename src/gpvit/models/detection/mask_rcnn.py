"""Mask R-CNN on a ViT-Adapter (paper Section 4.3)."""

from typing import get_args

import torch
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from gpvit.errors import UserError
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.inputs import Detections, Maps, Size, Target
from gpvit.models.detection.masks import MaskFormat, paste_masks
from gpvit.models.detection.proposals import L1RegionProposalNetwork
from gpvit.models.detection.roi_heads import L1RoIHeads

_STRIDES = (4, 8, 16, 32, 64)


class MaskRCNN(Detector):
    """Mask R-CNN: boxes, classes and masks of objects, from maps of strides 4 to 64.

    The arguments are those of :class:`Detector`.

    Attributes:
        mask_format: What ``masks`` hold: ``"probability"``, floats at the image's size, as in torchvision;
            ``"binary"``, whether these are at least 0.5, a quarter of the memory; ``"box"``, floats ``(N, 1, 28, 28)``
            within each box, for :func:`gpvit.models.detection.masks.paste_masks`.
        rpn: The region proposal network.
        roi_heads: What makes detections of the proposals; its ``score_thresh``, ``nms_thresh`` and
            ``detections_per_img`` may be changed.

    Example:
        >>> model = MaskRCNN("gpvit_nano", num_classes=3, min_size=64).eval()
        >>> sorted(model([torch.rand(3, 60, 80)])[0])
        ['boxes', 'labels', 'masks', 'scores']
    """

    num_outputs = 4
    coarsest_norm = 32
    has_masks = True
    head_names = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
    """What depends on the classes."""

    mask_format: MaskFormat = "probability"

    def extra_levels(self, channels: int) -> LastLevelMaxPool:
        """Make what adds the map of stride 64: every other cell of the one before."""
        return LastLevelMaxPool()

    def build_heads(  # type: ignore[override]
        self, channels: int, anchor_scale: float = 8.0, proposals_per_image: int = 1000, rois_per_image: int = 512
    ) -> None:
        """Make ``rpn`` and ``roi_heads``.

        Args:
            channels: Channels of the maps and of the heads.
            anchor_scale: Side of the square anchor of each map, in strides: by default 32 pixels on the finest.
            proposals_per_image: Proposals that ``rpn`` makes of each image.
            rois_per_image: Proposals of each image that ``roi_heads`` are trained on.
        """
        self.rpn = L1RegionProposalNetwork(channels, _STRIDES, anchor_scale, proposals_per_image)
        self.roi_heads = L1RoIHeads(self.num_classes, channels, _STRIDES[:4], rois_per_image)

    def losses(self, features: Maps, image_sizes: list[Size], targets: list[Target]) -> dict[str, torch.Tensor]:
        """Compute the losses of the proposals, and of their classes, boxes and masks; see :meth:`Detector.losses`."""
        proposals, losses = self.rpn(features, image_sizes, targets)
        return {**losses, **self.roi_heads(features, proposals, targets)}

    def detect(self, features: Maps, image_sizes: list[Size], original_sizes: list[Size]) -> list[Detections]:
        """Detect objects and their masks; see :meth:`Detector.detect`."""
        proposals, _ = self.rpn(features, image_sizes)
        detections = self.roi_heads.detect(features, proposals, image_sizes, original_sizes)
        if self.mask_format not in get_args(MaskFormat):
            raise UserError(f"mask_format must be one of {', '.join(get_args(MaskFormat))}; got {self.mask_format!r}")
        if self.mask_format != "box":
            for found, size in zip(detections, original_sizes, strict=True):
                found["masks"] = paste_masks(found["masks"], found["boxes"], size, self.mask_format == "binary")
        return detections
