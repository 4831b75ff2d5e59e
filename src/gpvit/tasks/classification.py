"""Image classification: loss, mixing of images, optimiser, schedule and accuracy."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import Mixup

from gpvit.errors import UserError
from gpvit.models.backbone import GPViT
from gpvit.tasks.base import Task, check_model, scheduled
from gpvit.tasks.freezing import Frozen, freeze
from gpvit.tasks.lr_scaling import check_base_batch_size, peak_lr
from gpvit.tasks.metrics.accuracy import accuracies
from gpvit.tasks.optimizers import adamw
from gpvit.tasks.schedules import warmup_cosine


class ClassificationTask(Task):
    """Trains a classifier on batches `(images (B, C, H, W), labels (B,))`.

    The number of classes, the image channels and the image size come from the data module, so that they are said
    once. The defaults are those of GPViT's released ImageNet training, for 2048 images a step.

    Args:
        name: A model of the catalog, as `gpvit_l1`.
        model_kwargs: More arguments of the model, as `drop_path_rate`.
        weights: What to start from: the tag of published weights or a checkpoint's path; None starts at random.
            A classifier of other classes is left out, and that is printed.
        lr: Peak learning rate.
        base_batch_size: The images of a step that `lr` is for: with more or fewer, on all devices together, the rate is scaled
            in proportion, and that is printed. None takes `lr` as it is.
        betas: AdamW's coefficients of the running averages.
        weight_decay: Weight decay; norms, biases, the position embedding and group tokens do not decay.
        layer_decay: Factor of the learning rate from each layer to the one below it; None for one rate.
        freeze: What does not learn: `backbone`, all but pooling and head, or its stem and so many of its first blocks;
            its batch norms then keep their statistics. See `gpvit.tasks.freezing`.
        max_skipped_steps: How many batches whose loss is not finite are passed over; one more ends the run.
        warmup_epochs: Epochs of linear warm-up.
        warmup_ratio: Factor of the learning rate that the warm-up starts from.
        min_lr_ratio: Factor of the learning rate that the cosine ends at.
        label_smoothing: Share of the target that is spread over all classes.
        mixup_alpha: Parameter of Mixup's Beta distribution; 0 for no Mixup.
        cutmix_alpha: The same for CutMix. Where both are given, each batch takes one of them at random.
        grad_checkpointing: Keep only each block's input for the backward pass and compute the rest again, for less
            memory and more time.
        compile: Have torch.compile make kernels for the network, which takes minutes at first and a C++ compiler.
    """

    best_metric = "val/top1"

    def __init__(
        self,
        name: str,
        model_kwargs: dict[str, Any] | None = None,
        weights: str | None = None,
        lr: float = 2e-3,
        base_batch_size: int | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.05,
        layer_decay: float | None = None,
        freeze: Frozen | None = None,
        max_skipped_steps: int = 0,
        warmup_epochs: float = 15,
        warmup_ratio: float = 1e-3,
        min_lr_ratio: float = 1e-2,
        label_smoothing: float = 0.1,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        grad_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_model(name, "classification", model_kwargs, GPViT)
        check_base_batch_size(base_batch_size)
        self.save_hyperparameters()
        self.mixup: Mixup | None = None

    def configure_model(self) -> None:
        """Build the network for the data, once."""
        if hasattr(self, "network"):
            return
        options: Any = self.hparams
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        channels, *size = data.preprocessing.input_size
        self.network = self.create_network(num_classes=data.num_classes, in_chans=channels, img_size=tuple(size))
        freeze(self.network, options.freeze, is_trained=options.weights is not None)
        self.val_accuracy = accuracies(data.num_classes, prefix="val/")
        if options.mixup_alpha or options.cutmix_alpha:
            self.mixup = Mixup(
                options.mixup_alpha,
                options.cutmix_alpha,
                label_smoothing=options.label_smoothing,
                num_classes=data.num_classes,
            )

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor | None:
        """Compute the loss of a batch, mixed if so configured."""
        images, labels = batch
        options: Any = self.hparams
        if self.mixup is None:
            loss = F.cross_entropy(self(images), labels, label_smoothing=options.label_smoothing)
        else:
            if len(images) % 2:
                raise UserError(f"Mixup and CutMix pair images, but a batch has {len(images)}: make batch_size even")
            images, soft_labels = self.mixup(images, labels)
            loss = F.cross_entropy(self(images), soft_labels)
        return self.log_step(loss, len(images))

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Score a batch."""
        images, labels = batch
        logits = self(images)
        self.val_accuracy.update(logits, labels)
        self.log("val/loss", F.cross_entropy(logits, labels), batch_size=len(images), sync_dist=True)
        self.log_dict(self.val_accuracy, on_step=False, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Create AdamW and its schedule, which moves at every step."""
        options: Any = self.hparams
        lr = peak_lr(self.trainer, options.lr, options.base_batch_size)
        optimizer = adamw(self.network, lr, options.betas, options.weight_decay, options.layer_decay)
        self.trainer.fit_loop.setup_data()  # counts the batches of an epoch
        epoch_steps = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        factor = partial(
            warmup_cosine,
            total_steps=self.total_steps(),
            warmup_steps=round(options.warmup_epochs * epoch_steps),
            warmup_ratio=options.warmup_ratio,
            min_lr_ratio=options.min_lr_ratio,
        )
        return scheduled(optimizer, factor)
