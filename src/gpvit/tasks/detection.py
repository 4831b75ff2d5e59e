"""Object detection and instance segmentation: losses, optimiser, schedule and average precision."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from gpvit.data.detection.module import DetectionData
from gpvit.errors import UserError
from gpvit.models.detection.detector import Detector
from gpvit.models.detection.mask_rcnn import MaskRCNN
from gpvit.tasks.base import Task, check_model, scheduled
from gpvit.tasks.freezing import Frozen, freeze
from gpvit.tasks.lr_scaling import check_base_batch_size, peak_lr
from gpvit.tasks.metrics.coco_ap import DetectionScores
from gpvit.tasks.optimizers import OptimizerName, detector_groups, optimizer, with_layer_decay
from gpvit.tasks.schedules import warmup_multistep, warmup_poly
from gpvit.zoo.build import model_class as class_of
from gpvit.zoo.catalog import find

Batch = tuple[list[torch.Tensor], list[dict[str, Any]]]

_SHOWN = ("ap", "ap50", "ap75")


class DetectionTask(Task):
    """Trains a detector on batches `(images, targets)` as torchvision's detectors take them.

    The number of classes comes from the data module, so that it is said once, and so does the size that pictures are
    resized to in evaluation: the largest that training's augmentation gives them, unless `model_kwargs` say `min_size`.
    The defaults are those of the released training on COCO, for 32 images a step in 12 epochs.

    Args:
        name: A model of the catalog, as `mask_rcnn_gpvit_l1`, or a detector on any plain transformer of timm,
            `retinanet_vit_small_patch16_224`.
        model_kwargs: More arguments of the model, as `drop_path_rate`.
        weights: What to start from: the tag of published weights or a checkpoint's path; None starts at random.
            A classifier of other classes is left out, and that is printed.
        backbone_weights: The same for the backbone alone, as `in1k`.
        lr: Peak learning rate.
        base_batch_size: The images of a step that `lr` is for: with more or fewer, on all devices together, the rate is scaled
            in proportion, and that is printed. None takes `lr` as it is.
        betas: AdamW's coefficients of the running averages.
        weight_decay: Weight decay; what does not decay is said in `gpvit.tasks.optimizers.detector_groups`.
        milestones: Epochs after each of which the learning rate is a tenth; None for a rate that falls to zero in a
            straight line instead, over a run of any length.
        layer_decay: Factor of the learning rate from each layer of the backbone to the one below it, the last one's
            factor included; None for one rate.
        freeze: What does not learn: the `backbone`, or its stem and so many of its first blocks; its batch norms then
            keep their statistics. See `gpvit.tasks.freezing`.
        max_skipped_steps: How many batches whose loss is not finite are passed over; one more ends the run.
        warmup_steps: Steps of linear warm-up.
        warmup_ratio: Factor of the learning rate that the warm-up starts from.
        optimizer: `adamw`, or `muon` for short training from random values, see `gpvit.tasks.optimizers.optimizer`.
        grad_checkpointing: Keep only each block's input for the backward pass and compute the rest again, for less
            memory and more time.
        compile: Have torch.compile make kernels for the network, which takes minutes at first and a C++ compiler.
    """

    sync_batch_norm = True
    network: Detector

    def __init__(
        self,
        name: str,
        model_kwargs: dict[str, Any] | None = None,
        weights: str | None = None,
        backbone_weights: str | None = None,
        lr: float = 2e-4,
        base_batch_size: int | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.05,
        milestones: tuple[int, ...] | None = (8, 11),
        layer_decay: float | None = None,
        freeze: Frozen | None = None,
        max_skipped_steps: int = 0,
        warmup_steps: int = 500,
        warmup_ratio: float = 1e-3,
        optimizer: OptimizerName = "adamw",
        grad_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        model_class = class_of(find(name.partition(".")[0]))
        check_model(name, "detection", model_kwargs, model_class)
        check_base_batch_size(base_batch_size)
        self.best_metric = "val/mask_ap" if model_class is MaskRCNN else "val/box_ap"
        self.save_hyperparameters()

    def configure_model(self) -> None:
        """Build the network for the data, once.

        Raises:
            ValueError: If a Mask R-CNN would get no masks, or nothing says what size pictures are evaluated at.
        """
        if hasattr(self, "network"):
            return
        options: Any = self.hparams
        data: DetectionData = self.trainer.datamodule  # type: ignore[attr-defined]
        size = _evaluation_size(data, options.model_kwargs or {})
        # Training pictures come at the size that the data's augmentation gave them, and in colour.
        self.network = self.create_network(  # type: ignore[assignment]
            num_classes=data.num_classes, in_chans=3, resize_in_training=False, **size
        )
        if isinstance(self.network, MaskRCNN):
            if not data.masks:
                raise UserError(
                    f"{options.name} learns masks: set data.masks true, or train a RetinaNet on boxes alone"
                )
            self.network.mask_format = "binary"  # all that scores ask for
        freeze(self.network, options.freeze, is_trained=bool(options.weights or options.backbone_weights))
        self.val_scores = DetectionScores(data.class_names, masks=self.network.has_masks)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor | None:
        """Compute the sum of the network's losses of a batch."""
        images, targets = batch
        losses = self.network(images, targets)
        loss = self.log_step(torch.stack(list(losses.values())).sum(), len(images))
        if loss is None:
            return None
        parts = {f"train/{name}": part.detach() for name, part in losses.items()}
        self.log_dict(parts, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        images, targets = batch
        self.val_scores.update(detect(self.network, images), targets)

    def on_validation_epoch_end(self) -> None:
        """Log the scores over all validation pictures."""
        super().on_validation_epoch_end()
        scores = self.val_scores.compute()  # of all processes together, so that they agree before `sync_dist` averages
        shown = {f"{kind}_{figure}" for kind in self.val_scores.kinds for figure in _SHOWN}
        self.log_dict({f"val/{name}": scores[name].item() for name in sorted(shown)}, sync_dist=True)
        self.val_scores.reset()

    def configure_optimizers(self) -> Any:
        """Create the optimiser and its schedule, which moves at every step."""
        options: Any = self.hparams
        warmup = {"warmup_steps": options.warmup_steps, "warmup_ratio": options.warmup_ratio}
        if options.milestones is None:
            factor = partial(warmup_poly, total_steps=self.total_steps(), **warmup)
        else:
            milestones = [epoch * self.epoch_steps() for epoch in options.milestones]
            if milestones and max(milestones) >= self.total_steps():
                warnings.warn(
                    f"the run ends before its learning rate falls after the epochs {list(options.milestones)}: "
                    "set model.milestones to earlier ones, or to null for a rate that falls to zero by the end",
                    stacklevel=2,
                )
            factor = partial(warmup_multistep, milestones=milestones, **warmup)
        lr = peak_lr(self.trainer, options.lr, options.base_batch_size)
        groups = detector_groups(self.network, options.weight_decay)
        groups = with_layer_decay(self.network, groups, lr, options.layer_decay)
        created = optimizer(options.optimizer, self.network, groups, lr, options.betas)
        return scheduled(created, factor)


def detect(model: Detector, images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Detect objects in images, at once where all are of one size, else one by one.

    Padding to a common size would change what is found: group propagation looks at the padding, too.

    Args:
        model: A detector in evaluation mode.
        images: Images `(C, H, W)`, floats in [0, 1].
    """
    batches = [images] if len({image.shape for image in images}) == 1 else [[image] for image in images]
    return [detection for batch in batches for detection in model(batch)]


def _evaluation_size(data: DetectionData, model_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Say what size pictures are resized to in evaluation, as arguments of a detector, unless it is said already."""
    if "min_size" in model_kwargs:
        return {}
    if not data.augmentation.short_sides:
        raise UserError(
            "training takes pictures at their own size: set model.model_kwargs.min_size to the short side, in pixels, "
            "that they are to be evaluated at"
        )
    size = {"min_size": max(data.augmentation.short_sides), "max_size": data.augmentation.long_side}
    return {name: side for name, side in size.items() if name not in model_kwargs}
