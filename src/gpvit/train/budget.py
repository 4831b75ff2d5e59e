"""How long a run will take and how much it will write, before it starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gpvit.errors import UserError

_LIGHTNINGS_EPOCHS = 1000  # where neither epochs nor steps are said


@dataclass(frozen=True)
class Plan:
    """What a Trainer's settings come to.

    Attributes:
        devices: Of all nodes together.
        epochs: How often the data are gone through, the last time perhaps in part.
        steps: Optimiser steps.
        batches: Training batches of one device.
        val_batches: Validation batches of one device, of all validations together.
    """

    devices: int
    epochs: float
    steps: int
    batches: int
    val_batches: int

    def seconds(self, batch: float, loading: float, workers: int, val_batch: float) -> float:
        """Estimate the whole run from what was measured.

        Args:
            batch: Seconds to learn from a batch.
            loading: Seconds to load one.
            workers: Loader processes; with none, loading and learning take turns.
            val_batch: Seconds to load and score a validation batch.
        """
        each = max(batch, loading) if workers else batch + loading
        return self.batches * each + self.val_batches * val_batch


def plan(trainer: Mapping[str, Any], train_images: int, batch_size: int, val_batches: int) -> Plan:
    """Work out what a Trainer would do.

    Args:
        trainer: The arguments of Lightning's Trainer.
        train_images: Images to train on.
        batch_size: Images per batch and device.
        val_batches: Batches of one validation, were there one device.
    """
    devices = _count(trainer.get("devices")) * int(trainer.get("num_nodes") or 1)
    accumulate = int(trainer.get("accumulate_grad_batches") or 1)
    in_epoch = _limited(max(train_images // (batch_size * devices), 1), trainer.get("limit_train_batches"))
    steps_in_epoch = max(math.ceil(in_epoch / accumulate), 1)
    max_steps = trainer.get("max_steps") or -1
    max_epochs = trainer.get("max_epochs")
    if max_epochs is None:
        max_epochs = -1 if max_steps > 0 else _LIGHTNINGS_EPOCHS
    ends = [count for count in (max_epochs * steps_in_epoch, max_steps) if count > 0]
    if not ends:
        raise UserError("the run has no end: set trainer.max_epochs or trainer.max_steps")
    steps = min(ends)
    epochs = steps / steps_in_epoch
    batches = round(epochs * in_epoch)
    once = _limited(math.ceil(val_batches / devices), trainer.get("limit_val_batches"))
    return Plan(devices, epochs, steps, batches, once * _validations(trainer, epochs, batches, in_epoch))


def bytes_on_disk(weights: int, optimizer: int) -> int:
    """Estimate the most that a run folder holds: three checkpoints while one is written, and three files of weights.

    Args:
        weights: Bytes of the network's tensors.
        optimizer: Bytes of what the optimiser remembers.
    """
    return 3 * (weights + optimizer) + 3 * weights


def _validations(trainer: Mapping[str, Any], epochs: float, batches: int, in_epoch: int) -> int:
    interval = trainer.get("val_check_interval")
    every = trainer.get("check_val_every_n_epoch", 1)
    if isinstance(interval, int) and not isinstance(interval, bool) and interval > 1:
        return batches // interval if every is None else int(epochs) // every * (in_epoch // interval)
    within = round(1 / interval) if interval else 1
    return int(epochs) // (every or 1) * within


def _limited(count: int, limit: int | float | None) -> int:
    """Apply a limit of Lightning's: a number of batches, or a share of them."""
    if limit is None:
        return count
    return min(count, limit) if isinstance(limit, int) else int(count * limit)


def _count(devices: Any) -> int:
    """Count devices as Lightning does: a number, a list of them, or all there are."""
    if isinstance(devices, list | tuple):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([each for each in devices.split(",") if each.strip()])
    if devices in (None, "auto", -1, "-1"):
        return max(torch.cuda.device_count(), 1)
    return int(devices)
