"""Learning-rate schedules, as factors of the peak rate."""

import math


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
    if step < warmup_steps:
        factor *= 1 - (1 - step / warmup_steps) * (1 - warmup_ratio)
    return factor
