"""Semantic segmentation: loss, optimiser, schedule and intersection over union."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from gpvit.data.segmentation.masks import IGNORE
from gpvit.models.segmenter import Segmenter
from gpvit.tasks.base import Task, check_model, scheduled
from gpvit.tasks.freezing import Frozen, freeze
from gpvit.tasks.lr_scaling import check_base_batch_size, peak_lr
from gpvit.tasks.metrics.mean_iou import SegmentationScores
from gpvit.tasks.optimizers import NoDecay, OptimizerName, head_groups, optimizer, with_layer_decay
from gpvit.tasks.schedules import warmup_poly


class SegmentationTask(Task):
    """Trains a segmenter on batches `(images (B, C, H, W), masks (B, H, W))`, where label 255 is ignored.

    The number of classes and the image channels come from the data module, so that they are said once. The defaults
    are those of UPerNet's released training on ADE20K, for 32 images a step.

    Args:
        name: A model of the catalog, as `segformer_gpvit_l1`, or a decoder on any timm backbone, `upernet_resnet50`.
        model_kwargs: More arguments of the model, as `drop_path_rate`.
        weights: What to start from: the tag of published weights or a checkpoint's path; None starts at random.
            A classifier of other classes is left out, and that is printed.
        backbone_weights: The same for the backbone alone, as `in1k`.
        lr: Peak learning rate.
        base_batch_size: The images of a step that `lr` is for: with more or fewer, on all devices together, the rate is scaled
            in proportion, and that is printed. None takes `lr` as it is.
        betas: AdamW's coefficients of the running averages.
        weight_decay: Weight decay.
        no_decay: What does not decay: `layer_norms` (UPerNet as released) or `backbone_norms_and_biases` (SegFormer);
            in both also the position embedding and group tokens. See `gpvit.tasks.optimizers.NoDecay`.
        head_lr_scale: Factor of the learning rate outside the backbone.
        layer_decay: Factor of the learning rate from each layer of the backbone to the one below it, the last one's
            factor included; None for one rate.
        freeze: What does not learn: the `backbone`, or its stem and so many of its first blocks; its batch norms then
            keep their statistics. See `gpvit.tasks.freezing`.
        max_skipped_steps: How many batches whose loss is not finite are passed over; one more ends the run.
        warmup_steps: Steps of linear warm-up.
        warmup_ratio: Factor of the learning rate that the warm-up starts from.
        power: Power of the share of steps left that the learning rate falls with; 1 for a straight line.
        min_lr_ratio: Factor of the learning rate that the schedule ends at.
        auxiliary_weight: Weight of the auxiliary head's loss, where the model has such a head.
        background_weight: Weight of the first class in the loss, where it is a background that fills most pixels.
        optimizer: `adamw`, or `muon` for short training from random values, see `gpvit.tasks.optimizers.optimizer`.
        grad_checkpointing: Keep only each block's input for the backward pass and compute the rest again, for less
            memory and more time.
        compile: Have torch.compile make kernels for the network, which takes minutes at first and a C++ compiler.
    """

    best_metric = "val/miou"
    sync_batch_norm = True
    network: Segmenter

    def __init__(
        self,
        name: str,
        model_kwargs: dict[str, Any] | None = None,
        weights: str | None = None,
        backbone_weights: str | None = None,
        lr: float = 1.2e-4,
        base_batch_size: int | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
        no_decay: NoDecay = "layer_norms",
        head_lr_scale: float = 1.0,
        layer_decay: float | None = None,
        freeze: Frozen | None = None,
        max_skipped_steps: int = 0,
        warmup_steps: int = 1500,
        warmup_ratio: float = 1e-6,
        power: float = 1.0,
        min_lr_ratio: float = 0.0,
        auxiliary_weight: float = 0.4,
        background_weight: float = 1.0,
        optimizer: OptimizerName = "adamw",
        grad_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_model(name, "segmentation", model_kwargs, Segmenter)
        check_base_batch_size(base_batch_size)
        self.save_hyperparameters()

    def configure_model(self) -> None:
        """Build the network for the data, once."""
        if hasattr(self, "network"):
            return
        options: Any = self.hparams
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        channels = data.preprocessing.input_size[0]
        self.network = self.create_network(num_classes=data.num_classes, in_chans=channels)  # type: ignore[assignment]
        freeze(self.network, options.freeze, is_trained=bool(options.weights or options.backbone_weights))
        self.val_scores = SegmentationScores(data.num_classes)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor | None:
        """Compute the loss of a batch, with the auxiliary head's share."""
        images, masks = batch
        options: Any = self.hparams
        logits, auxiliary = self.network.forward_with_auxiliary(images)
        loss = pixel_cross_entropy(logits, masks, options.background_weight)
        if auxiliary is not None:
            share = pixel_cross_entropy(auxiliary, masks, options.background_weight)
            loss = loss + options.auxiliary_weight * share
        return self.log_step(loss, len(images))

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        """Score a batch, whose masks `(B, H0, W0)` may be of another size than its images."""
        images, masks = batch
        logits = F.interpolate(self(images), size=masks.shape[1:], mode="bilinear", align_corners=False)
        self.val_scores.update(logits.max(1).indices, masks)  # argmax takes twice as long on a CPU

    def on_validation_epoch_end(self) -> None:
        """Log the scores over all validation images."""
        super().on_validation_epoch_end()
        scores = self.val_scores.compute()  # of all processes together, so that they agree before `sync_dist` averages
        shown = {f"val/{name}": scores[name] for name in ("miou", "macc", "aacc")}
        self.log_dict(shown, prog_bar=True, sync_dist=True)
        self.val_scores.reset()

    def configure_optimizers(self) -> Any:
        """Create the optimiser and its schedule, which moves at every step."""
        options: Any = self.hparams
        lr = peak_lr(self.trainer, options.lr, options.base_batch_size)
        groups = head_groups(self.network, lr, options.weight_decay, options.no_decay, options.head_lr_scale)
        groups = with_layer_decay(self.network, groups, lr, options.layer_decay)
        factor = partial(
            warmup_poly,
            total_steps=self.total_steps(),
            warmup_steps=options.warmup_steps,
            warmup_ratio=options.warmup_ratio,
            power=options.power,
            min_lr_ratio=options.min_lr_ratio,
        )
        created = optimizer(options.optimizer, self.network, groups, lr, options.betas)
        return scheduled(created, factor)


def pixel_cross_entropy(logits: torch.Tensor, masks: torch.Tensor, background_weight: float = 1.0) -> torch.Tensor:
    """Compute the cross-entropy of logits `(B, K, H, W)` with masks `(B, H, W)`, as a mean over all pixels.

    code: ignored pixels add nothing but are counted, as in the authors' training, so that a crop without any label has
    a loss of zero.
    """
    weight = None
    if background_weight != 1:
        weight = logits.new_ones(logits.shape[1])
        weight[0] = background_weight
    return F.cross_entropy(logits, masks, weight, ignore_index=IGNORE, reduction="sum") / masks.numel()
