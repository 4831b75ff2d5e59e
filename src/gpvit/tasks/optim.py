"""Settings of optimiser and schedule, alike for all tasks, and what they create."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from timm.optim import Muon
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gpvit.errors import UserError
from gpvit.tasks.param_groups import NO_DECAY, Frozen, parameter_groups

OptimizerName = Literal["adamw", "muon"]
ScheduleName = Literal["cosine", "poly", "multistep"]


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the weights learn. Each task has defaults of its own, those of the released training.

    Args:
        lr: Peak learning rate.
        base_batch_size: Images of a step that `lr` is for; with others, the rate is scaled in proportion, and that is
            printed. None takes `lr` as it is.
        optimizer: `adamw`, or `muon` for short training from random weights (Jordan et al. 2024; timm's): it moves
            matrices along orthogonalised momentum, and the rest as AdamW at 0.3 of the rate.
        betas: Coefficients of the running averages.
        weight_decay: Weight decay.
        no_decay: Rule for what does not decay: `norms_and_biases`, `layer_norms`, `backbone_norms_and_biases` or
            `biases_and_layer_norms`, see `gpvit.tasks.param_groups`.
        head_lr_scale: Factor of the learning rate outside the backbone.
        layer_decay: Factor of the learning rate from each layer to the one below it; None for one rate.
        freeze: What does not learn: `backbone`, or N for the stem and the first N blocks.
        schedule: `cosine`, `poly` or `multistep`.
        warmup: Linear warm-up as a share of the run, such as 0.1.
        warmup_steps: The same in steps, in place of `warmup`. One that is as long as the run gives way to a tenth.
        warmup_epochs: The same in epochs.
        warmup_ratio: Factor of the learning rate that the warm-up starts from.
        milestones: For `multistep`: epochs after each of which the rate is a tenth.
        power: For `poly`: power of the remaining part of the run.
        min_lr_ratio: For `cosine` and `poly`: factor of the learning rate at the end of the run.

    Raises:
        UserError: If a name is unknown, `base_batch_size` not positive, or the warm-up given twice or not below 1.
    """

    lr: float
    base_batch_size: int | None = None
    optimizer: OptimizerName = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    no_decay: str = "norms_and_biases"
    head_lr_scale: float = 1.0
    layer_decay: float | None = None
    freeze: Frozen | None = None
    schedule: ScheduleName = "cosine"
    warmup: float | None = None
    warmup_steps: int = 0
    warmup_epochs: float | None = None
    warmup_ratio: float = 1e-3
    milestones: tuple[int, ...] = ()
    power: float = 1.0
    min_lr_ratio: float = 0.0

    def __post_init__(self) -> None:
        if self.base_batch_size is not None and self.base_batch_size < 1:
            raise UserError(
                f"base_batch_size {self.base_batch_size}: give the images of a step that lr is for, 1 or more, or null"
            )
        given = {name: getattr(self, name) for name in ("warmup", "warmup_steps", "warmup_epochs")}
        if len(twice := [f"{name} {value}" for name, value in given.items() if value not in (None, 0)]) > 1:
            raise UserError(f"{' and '.join(twice)}: set one of them to null or 0")
        if self.warmup is not None and not 0 <= self.warmup < 1:
            raise UserError(f"warmup {self.warmup}: give a share of the run, 0 to below 1, such as 0.1")
        choices = {"optimizer": get_args(OptimizerName), "schedule": get_args(ScheduleName), "no_decay": NO_DECAY}
        for field, names in choices.items():
            if (given := getattr(self, field)) not in names:
                raise UserError(f"{field} {given!r}: choose one of {', '.join(names)}")

    def peak_lr(self, images_per_step: int) -> float:
        """Scale the learning rate in proportion to the images of a step, of all devices and accumulated batches."""
        return self.lr if self.base_batch_size is None else self.lr * images_per_step / self.base_batch_size


def create_optimizer(
    network: nn.Module, config: OptimConfig, *, total_steps: int, epoch_steps: float, images_per_step: int
) -> tuple[Optimizer, LambdaLR]:
    """Create an optimiser over what learns in a network, and its schedule, which moves at every optimiser step.

    `total_steps` are those of the whole run, `epoch_steps` those of an epoch; `images_per_step` are those of all
    devices and accumulated batches. A learning rate that they scale is printed, by the first process alone.
    """
    lr = config.peak_lr(images_per_step)
    if lr != config.lr:
        line = f"learning rate {lr:.3g} for {images_per_step} images a step, from {config.lr:.3g} for"
        rank_zero_only(print)(line, config.base_batch_size, flush=True)
    is_muon = config.optimizer == "muon"
    groups = parameter_groups(
        network,
        lr=lr,
        weight_decay=config.weight_decay,
        no_decay=config.no_decay,
        head_lr_scale=config.head_lr_scale,
        layer_decay=config.layer_decay,
        muon=is_muon,
    )
    create: Callable[..., Optimizer] = partial(Muon, nesterov=True) if is_muon else AdamW
    optimizer = create(groups, lr=lr, betas=config.betas)
    return optimizer, LambdaLR(optimizer, lr_factor(config, total_steps, epoch_steps))


def lr_factor(config: OptimConfig, total_steps: int, epoch_steps: float) -> Callable[[int], float]:
    """Make the schedule: the factor of the peak learning rate as a function of the steps taken.

    It warns where the run is too short for its warm-up or its milestones.
    """
    warmup_steps = round((config.warmup or 0) * total_steps + (config.warmup_epochs or 0) * epoch_steps)
    warmup_steps += config.warmup_steps
    if warmup_steps >= total_steps > 0:
        warnings.warn(
            f"the warm-up of {warmup_steps} steps is not shorter than the run of {total_steps}: it takes a tenth of "
            "it; set optim.warmup 0.1 in place of optim.warmup_steps or warmup_epochs, or train longer",
            stacklevel=2,
        )
        warmup_steps = total_steps // 10
    milestones = [round(epoch * epoch_steps) for epoch in config.milestones]
    if config.schedule == "multistep" and max(milestones, default=0) >= total_steps > 0:
        warnings.warn(
            f"the run ends before its learning rate falls after the epochs {list(config.milestones)}: set "
            "optim.milestones to earlier ones, or optim.schedule to poly, which falls to zero by the end",
            stacklevel=2,
        )

    def factor(step: int) -> float:
        # code: cosine and poly fall from the first step, not after the warm-up, as in the authors' training.
        if config.schedule == "multistep":
            height = 0.1 ** sum(step >= milestone for milestone in milestones)
        else:
            done = min(step / total_steps, 1.0)
            left = (1 + math.cos(math.pi * done)) / 2 if config.schedule == "cosine" else (1 - done) ** config.power
            height = config.min_lr_ratio + (1 - config.min_lr_ratio) * left
        return height if step >= warmup_steps else height * (1 - (1 - step / warmup_steps) * (1 - config.warmup_ratio))

    return factor
