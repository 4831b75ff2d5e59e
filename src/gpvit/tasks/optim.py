"""Settings of optimiser and schedule, alike for all tasks."""

from dataclasses import dataclass
from typing import Literal

from gpvit.tasks.freezing import Frozen


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the weights learn. Each task has defaults of its own, those of the released training.

    Args:
        lr: Peak learning rate.
        base_batch_size: Images of a step that `lr` is for; with others, the rate is scaled in proportion, and that is
            printed. None takes `lr` as it is.
        optimizer: `adamw`, or `muon` for short training from random weights.
        betas: Coefficients of the running averages.
        weight_decay: Weight decay.
        no_decay: What does not decay beside the position embedding and group tokens; each task knows some rules.
        head_lr_scale: Factor of the learning rate outside the backbone.
        layer_decay: Factor of the learning rate from each layer to the one below it; None for one rate.
        freeze: What does not learn: `backbone`, or N for the stem and the first N blocks.
        schedule: `cosine`, `poly` or `multistep`.
        warmup_steps: Steps of linear warm-up.
        warmup_epochs: The same in epochs; it takes the place of `warmup_steps` where it is given.
        warmup_ratio: Factor of the learning rate that the warm-up starts from.
        milestones: For `multistep`: epochs after each of which the rate is a tenth.
        power: For `poly`: power of the remaining part of the run.
        min_lr_ratio: Factor of the learning rate at the end of the schedule.
    """

    lr: float
    base_batch_size: int | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    no_decay: str = "norms_and_biases"
    head_lr_scale: float = 1.0
    layer_decay: float | None = None
    freeze: Frozen | None = None
    schedule: Literal["cosine", "poly", "multistep"] = "cosine"
    warmup_steps: int = 0
    warmup_epochs: float | None = None
    warmup_ratio: float = 1e-3
    milestones: tuple[int, ...] = ()
    power: float = 1.0
    min_lr_ratio: float = 0.0
