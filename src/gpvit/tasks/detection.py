"""Object detection and instance segmentation: losses and average precision."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from gpvit.errors import UserError
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.tasks.base import Task
from gpvit.tasks.metrics.coco_ap import DetectionScores
from gpvit.tasks.optim import OptimConfig

Batch = tuple[list[Tensor], list[dict[str, Any]]]


class DetectionTask(Task):
    """Trains a detector on batches `(images, targets)` as torchvision's detectors take them.

    The number of classes comes from the data module, and so does the size that images are resized to in evaluation:
    the largest that training's augmentation gives them, unless `min_size` is given. The defaults are those of the
    released training on COCO, for 32 images a step in 12 epochs.

    Args:
        name: A model of the catalog, such as `mask_rcnn_gpvit_l1`, or a detector on any plain transformer of timm,
            `retinanet_vit_small_patch16_224`.
        weights: What to start from: the tag of published weights or a checkpoint's path; None starts at random.
            A classifier of other classes is left out, and that is printed.
        backbone_weights: The same for the backbone alone, such as `in1k`.
        optim: Optimiser and schedule; None takes `default_optim`.
        grad_checkpointing: As of `Task`.
        compile: As of `Task`.
        **model_kwargs: More arguments of the model, such as `drop_path_rate`.
    """

    kind = "detection"
    logged = tuple(f"{kind}_{figure}" for kind in ("box", "mask") for figure in ("ap", "ap50", "ap75"))
    default_optim = OptimConfig(
        lr=2e-4, no_decay="biases_and_layer_norms", schedule="multistep", milestones=(8, 11), warmup_steps=500
    )
    sync_batch_norm = True
    network: Detector

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        backbone_weights: str | None = None,
        *,
        optim: OptimConfig | None = None,
        grad_checkpointing: bool = False,
        compile: bool = False,
        **model_kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = {"optim": optim, "grad_checkpointing": grad_checkpointing, "compile": compile}
        super().__init__(name, weights, backbone_weights, **settings, **model_kwargs)
        self.best_metric = "val/mask_ap" if name.startswith("mask_rcnn_") else "val/box_ap"

    def build(self, data: Any) -> None:
        """Create the network for the data's classes and sizes, and the metric.

        Raises:
            UserError: If a Mask R-CNN would get no masks, nothing says what size images are evaluated at, or an
                argument is given that the data decide.
        """
        if hasattr(self, "network"):
            return
        augmentation = data.augmentation
        size = {"min_size": max(augmentation.short_sides, default=None), "max_size": augmentation.long_side}
        if "min_size" in self.model_kwargs:
            size = {}
        elif size["min_size"] is None:
            raise UserError(
                "training takes images at their own size: set model.min_size to the short side, in pixels, that they "
                "are to be evaluated at"
            )
        decided = {name: side for name, side in size.items() if name not in self.model_kwargs}
        # Training images come in colour, at the size that the data's augmentation gave them.
        network: Any = self.create_network(
            num_classes=data.num_classes, in_chans=3, resize_in_training=False, **decided
        )
        if isinstance(network, MaskRCNN):
            if not data.masks:
                raise UserError(f"{self.name} learns masks: set data.masks true, or train a RetinaNet on boxes alone")
            network.mask_format = "binary"  # all that scores ask for
        self.network = network
        self.val_scores = DetectionScores(data.class_names, masks=network.has_masks)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute the sum of the network's losses of a batch, and each of them."""
        losses: dict[str, Tensor] = self.network(*batch)
        return {"loss": torch.stack(list(losses.values())).sum(), **{n: part.detach() for n, part in losses.items()}}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        images, targets = batch
        self.val_scores.update(detect(self.network, images), targets)


def detect(model: Detector, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Detect objects in images, those that follow each other in one size at once.

    Padding to a common size would change what is found: group propagation looks at the padding, too.

    Args:
        model: A detector in evaluation mode.
        images: Images `(C, H, W)`, floats in [0, 1].
    """
    batches = (list(batch) for _, batch in groupby(images, lambda image: image.shape))
    return [detection for batch in batches for detection in model(batch)]
