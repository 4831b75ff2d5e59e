"""Learning-rate schedules, as factors of the peak rate."""

import math
from collections.abc import Sequence


def warmup_cosine(
    step: int, total_steps: int, warmup_steps: int = 0, warmup_ratio: float = 1e-3, min_lr_ratio: float = 1e-2
) -> float:
    """Compute the learning rate of a step relative to its peak: a cosine over all steps times a linear warm-up.

    The cosine starts with the first step, not after the warm-up, as in the authors' training.

    Args:
        step: Optimiser steps already taken.
        total_steps: Steps of the whole training.
        warmup_steps: Steps of the warm-up.
        warmup_ratio: Factor that the warm-up starts from.
        min_lr_ratio: Factor that the cosine ends at.

    Example:
        >>> [round(warmup_cosine(step, 100, 10), 3) for step in (0, 10, 50, 100)]
        [0.001, 0.976, 0.505, 0.01]
    """
    progress = min(step / total_steps, 1.0)
    factor = min_lr_ratio + (1 - min_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2
    return factor * _warmup(step, warmup_steps, warmup_ratio)


def warmup_poly(
    step: int,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_ratio: float = 1e-6,
    power: float = 1.0,
    min_lr_ratio: float = 0.0,
) -> float:
    """Compute the learning rate of a step relative to its peak: a falling power over all steps times a linear warm-up.

    The fall starts with the first step, not after the warm-up, as in the authors' training.

    Args:
        step: Optimiser steps already taken.
        total_steps: Steps of the whole training.
        warmup_steps: Steps of the warm-up.
        warmup_ratio: Factor that the warm-up starts from.
        power: Power of the share of steps that are left; 1 for a straight line.
        min_lr_ratio: Factor that the schedule ends at.

    Example:
        >>> [round(warmup_poly(step, 100, 10), 3) for step in (0, 5, 10, 50, 100)]
        [0.0, 0.475, 0.9, 0.5, 0.0]
    """
    left = 1 - min(step / total_steps, 1.0)
    return (min_lr_ratio + (1 - min_lr_ratio) * left**power) * _warmup(step, warmup_steps, warmup_ratio)


def warmup_multistep(
    step: int, milestones: Sequence[int], warmup_steps: int = 0, warmup_ratio: float = 1e-3, gamma: float = 0.1
) -> float:
    """Compute the learning rate of a step relative to its peak: falls at milestones, times a linear warm-up.

    Args:
        step: Optimiser steps already taken.
        milestones: Steps after each of which the rate is `gamma` of what it was.
        warmup_steps: Steps of the warm-up.
        warmup_ratio: Factor that the warm-up starts from.
        gamma: Factor of each fall.

    Example:
        >>> [round(warmup_multistep(step, [80, 110], 10), 3) for step in (0, 10, 79, 80, 110)]
        [0.001, 1.0, 1.0, 0.1, 0.01]
    """
    factor: float = gamma ** sum(step >= milestone for milestone in milestones)
    return factor * _warmup(step, warmup_steps, warmup_ratio)


def _warmup(step: int, warmup_steps: int, warmup_ratio: float) -> float:
    return 1 - (1 - step / warmup_steps) * (1 - warmup_ratio) if step < warmup_steps else 1.0
