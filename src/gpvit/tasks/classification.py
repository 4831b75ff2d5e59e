"""Image classification: loss, mixing of images and accuracy."""

from typing import Any

import torch.nn.functional as F
from timm.data import Mixup
from torch import Tensor

from gpvit.errors import UserError
from gpvit.tasks.base import Task
from gpvit.tasks.metrics import ClassificationScores
from gpvit.tasks.optim import OptimConfig


class ClassificationTask(Task):
    """Trains a classifier on batches `(images (B, C, H, W), labels (B,))`.

    The number of classes, the image channels and the image size come from the data module. The defaults are those of
    GPViT's released ImageNet training, for 2048 images a step.

    Args:
        name: A model of the catalog, such as `gpvit_l1`.
        weights: What to start from: the tag of published weights or a checkpoint's path; None starts at random.
            A classifier of other classes is left out, and that is printed.
        label_smoothing: Part of the target that is spread over all classes.
        mixup_alpha: Parameter of Mixup's Beta distribution; 0 for no Mixup.
        cutmix_alpha: The same for CutMix. Where both are given, each batch takes one of them at random.
        **kwargs: `optim`, `grad_checkpointing` and `compile`, as of `Task`, and more arguments of the model, such as
            `drop_path_rate`.
    """

    kind = "classification"
    best_metric = "val/top1"
    logged = ("loss", "top1", "top5")
    default_optim = OptimConfig(lr=2e-3, warmup_epochs=15, min_lr_ratio=1e-2)

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        *,
        label_smoothing: float = 0.1,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, weights, **kwargs)
        self.label_smoothing, self.mixup_alpha, self.cutmix_alpha = label_smoothing, mixup_alpha, cutmix_alpha
        self.mixup: Mixup | None = None

    def adapt(self, data: Any) -> dict[str, Any]:
        """Create metrics and Mixup; classes, channels and size are the data's."""
        self.val_scores = ClassificationScores(data.num_classes)
        if self.mixup_alpha or self.cutmix_alpha:
            alphas = self.mixup_alpha, self.cutmix_alpha
            self.mixup = Mixup(*alphas, label_smoothing=self.label_smoothing, num_classes=data.num_classes)
        channels, *size = data.preprocessing.input_size
        return {"num_classes": data.num_classes, "in_chans": channels, "img_size": tuple(size)}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Compute the loss of a batch, mixed if so configured."""
        images, labels = batch
        if self.mixup is None:
            return {"loss": F.cross_entropy(self(images), labels, label_smoothing=self.label_smoothing)}
        if len(images) % 2:
            raise UserError(f"Mixup and CutMix pair images, but a batch has {len(images)}: make batch_size even")
        images, soft_labels = self.mixup(images, labels)
        return {"loss": F.cross_entropy(self(images), soft_labels)}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Score a batch."""
        images, labels = batch
        self.val_scores.update(self(images), labels)
