"""Semantic segmentation: loss and intersection over union."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from gpvit.data.segmentation.masks import IGNORE
from gpvit.models.segmenter import Segmenter
from gpvit.tasks.base import Task
from gpvit.tasks.metrics import SegmentationScores
from gpvit.tasks.optim import OptimConfig


class SegmentationTask(Task):
    """Trains a segmenter on batches `(images (B, C, H, W), masks (B, H, W))`, where label 255 is ignored.

    The number of classes and the image channels come from the data module. The defaults are those of UPerNet's released
    training on ADE20K, for 32 images a step.

    Args:
        name: A model of the catalog, such as `segformer_gpvit_l1`, or a decoder on any timm backbone,
            `upernet_resnet50`.
        weights: What to start from: the tag of published weights or a checkpoint's path; None starts at random.
            A classifier of other classes is left out, and that is printed.
        backbone_weights: The same for the backbone alone, such as `in1k`.
        auxiliary_weight: Weight of the auxiliary head's loss, where the model has such a head.
        background_weight: Weight of the first class in the loss, where it is a background that fills most pixels.
        **kwargs: `optim`, `grad_checkpointing` and `compile`, as of `Task`, and more arguments of the model, such as
            `drop_path_rate`.
    """

    kind = "segmentation"
    best_metric = "val/miou"
    logged = ("miou", "macc", "aacc")
    default_optim = OptimConfig(
        lr=1.2e-4, weight_decay=0.01, no_decay="layer_norms", schedule="poly", warmup_steps=1500, warmup_ratio=1e-6
    )
    sync_batch_norm = True
    network: Segmenter

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        backbone_weights: str | None = None,
        *,
        auxiliary_weight: float = 0.4,
        background_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, weights, backbone_weights, **kwargs)
        self.auxiliary_weight, self.background_weight = auxiliary_weight, background_weight

    def adapt(self, data: Any) -> dict[str, Any]:
        """Create the metric; classes and channels are the data's."""
        self.val_scores = SegmentationScores(data.num_classes)
        return {"num_classes": data.num_classes, "in_chans": data.preprocessing.input_size[0]}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Compute the loss of a batch, with the weighted one of the auxiliary head."""
        images, masks = batch
        logits, auxiliary = self.network.forward_with_auxiliary(images)
        loss = pixel_cross_entropy(logits, masks, self.background_weight)
        if auxiliary is not None:
            loss = loss + self.auxiliary_weight * pixel_cross_entropy(auxiliary, masks, self.background_weight)
        return {"loss": loss}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Score a batch, whose masks `(B, H0, W0)` may be of another size than its images."""
        images, masks = batch
        logits = F.interpolate(self(images), size=masks.shape[1:], mode="bilinear", align_corners=False)
        self.val_scores.update(logits.max(1).indices, masks)  # argmax takes twice as long on a CPU


def pixel_cross_entropy(logits: Tensor, masks: Tensor, background_weight: float = 1.0) -> Tensor:
    """Compute the cross-entropy of logits `(B, K, H, W)` with masks `(B, H, W)`, as a mean over all pixels.

    code: ignored pixels add nothing but are counted, as in the authors' training, so that a crop without any label has
    a loss of zero.
    """
    weight = logits.new_ones(logits.shape[1])
    weight[0] = background_weight
    return F.cross_entropy(logits, masks, weight, ignore_index=IGNORE, reduction="sum") / masks.numel()
