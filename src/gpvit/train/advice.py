"""What keeps a run from learning: settings that are known to, before it; a score at chance or a flat loss, after it."""

import math
from collections.abc import Mapping
from typing import Any

_CHANCE = 1.2  # times the score of guessing
_FEW_IMAGES = 1_000
_FEW_STEPS = 30
# AdamW's rate for one image a step, which grows with their root. From random weights, 7e-4 leaves three easy classes
# of 90 images at chance or little above, and 5e-4 does not.
_HIGHEST_LR = 6e-4
_STRONG = {"rand_augment": "null", "erase_probability": "0"}  # augmentations, and what turns each off
_AT_CHANCE = {"val/top1": 1.0, "val/macc": 1.0, "val/box_ap50": 0.0}  # times the share of one class
_REMEDY = "train longer (--train.epochs), with another rate (--optim.lr a third of it, or three times as much), or from"


def suspicions(task: Any, data: Any, total_steps: int, images_per_step: int) -> list[str]:
    """List the settings by which a run of so many steps and images of a step may well learn nothing."""
    optim, images = getattr(task, "optim", None), len(getattr(data, "train_set", None) or ())
    is_new = not any(getattr(task, name, None) for name in ("weights", "backbone_weights"))
    is_new &= "." not in getattr(task, "name", "")
    strong = [name for name in _STRONG if getattr(getattr(data, "augmentation", None), name, None)]
    found = []
    if total_steps < _FEW_STEPS:
        found.append(f"the run has {total_steps} steps, in which little is learned: raise train.epochs")
    if is_new and 0 < images < _FEW_IMAGES and strong:
        found.append(
            f"{' and '.join(strong)} hide too much for a model from random weights and {images} training images: set "
            + " and ".join(f"data.augmentation.{name} {_STRONG[name]}" for name in strong)
        )
    highest = _HIGHEST_LR * math.sqrt(images_per_step)
    if is_new and optim and optim.optimizer == "adamw" and (lr := optim.peak_lr(images_per_step)) > highest:
        found.append(
            f"optim.lr {lr:.2g} is high for {images_per_step} images a step from random weights: give {highest / 6:.1g}"
        )
    return found


def verdict(task: Any, data: Any, config: Any, summary: Mapping[str, Any]) -> str:
    """Say that a run, by what `fit` returns, has learned next to nothing, and what to change; else nothing."""
    first, best, last = (summary.get(name, {}) for name in ("first", "best", "last"))
    classes = getattr(data, "num_classes", 0)
    said = ""
    for name, share in _AT_CHANCE.items():
        if classes > 1 and (score := best.get(name, math.inf)) <= max(share * _CHANCE / classes, 0.01):
            said = f"{name} {score:.3g} is at chance ({share / classes:.2g} for {classes} classes)"
    before, after = (row.get("train/loss", math.nan) for row in (first, last))
    if not said and after >= before and last["step"] > first["step"]:
        said = f"the loss did not fall: it was {before:.3g} at first and is {after:.3g}"
    if not said:
        return ""
    images = config.global_batch_size or getattr(data, "batch_size", 1) * (config.accumulate or 1)
    causes = suspicions(task, data, last.get("step", _FEW_STEPS), images)
    remedies = "; ".join(causes) or f"{_REMEDY} trained weights (--model.weights)"
    return f"{said}. What to change: {remedies}. Look at data.png, too: are the labels right?"
