"""Object detection and instance segmentation: losses and average precision."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from gpvit.errors import UserError
from gpvit.models.detection.detector import Detector
from gpvit.tasks.base import Task
from gpvit.tasks.coco_ap import DetectionScores
from gpvit.tasks.optim import OptimConfig
from gpvit.zoo.catalog import find

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
        **kwargs: `optim`, `grad_checkpointing` and `compile`, as of `Task`, and more arguments of the model, such as
            `drop_path_rate`.
    """

    kind = "detection"
    logged = tuple(f"{kind}_{figure}" for kind in ("box", "mask") for figure in ("ap", "ap50", "ap75"))
    default_optim = OptimConfig(
        lr=2e-4, no_decay="biases_and_layer_norms", schedule="multistep", milestones=(8, 11), warmup_steps=500
    )
    sync_batch_norm = True
    network: Detector

    @staticmethod
    def finds_masks(name: str) -> bool:
        """Tell whether a model of the catalog finds masks, or boxes alone."""
        return find(name.partition(".")[0]).system == "mask_rcnn"

    def adapt(self, data: Any) -> dict[str, Any]:
        """Create the metric; classes and sizes are the data's."""
        has_masks = self.finds_masks(self.name)
        if has_masks and not data.masks:
            raise UserError(f"{self.name} learns masks: set data.masks true, or train a RetinaNet on boxes alone")
        self.best_metric = "val/mask_ap" if has_masks else "val/box_ap"
        self.val_scores = DetectionScores(data.class_names, masks=has_masks)
        # Training images come in colour, at the size that the data's augmentation gave them.
        decided = {"num_classes": data.num_classes, "in_chans": 3, "resize_in_training": False}
        if "min_size" not in self.model_kwargs:
            augmentation = data.augmentation
            if not augmentation.short_sides:
                raise UserError(
                    "training takes images at their own size: set model.min_size to the short side, in pixels, that "
                    "they are to be evaluated at"
                )
            sides = {"min_size": max(augmentation.short_sides), "max_size": augmentation.long_side}
            decided |= {name: side for name, side in sides.items() if name not in self.model_kwargs}
        return decided

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Compute the sum of the network's losses of a batch, and each of them."""
        losses: dict[str, Tensor] = self.network(*batch)
        return {"loss": torch.stack(list(losses.values())).sum(), **{n: part.detach() for n, part in losses.items()}}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        images, targets = batch
        self.val_scores.update(detect(self.network, images), targets)


def detect(model: Any, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Detect objects in images `(C, H, W)`, those that follow each other in one size at once.

    Padding to a common size would change what is found: group propagation looks at the padding, too.
    """
    batches = (list(batch) for _, batch in groupby(images, lambda image: image.shape))
    # whether masks are there is all that scores ask for, in a quarter of the memory
    return [detection for batch in batches for detection in model.find(batch, "binary")]
