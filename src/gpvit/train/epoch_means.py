"""Means over an epoch that a run was stopped in."""

from typing import Any

import torch
import torch.distributed
from lightning import Trainer

Mean = dict[str, Any]
"""Sum and weight of what was logged, and how."""


def kept_means(trainer: Trainer) -> list[dict[str, Mean]]:
    """Collect what each process has logged in the current epoch, for means that are known at its end.

    Args:
        trainer: Of the run; all processes must call this.

    Returns:
        For each process, the logged sums by name.
    """
    own: dict[str, Mean] = {}
    for metric in trainer.fit_loop.epoch_loop._results.values():
        meta: Any = metric.meta
        if metric.is_tensor and meta.on_epoch and meta.is_mean_reduction and metric.cumulated_batch_size > 0:
            own[meta.name] = {
                "value": float(metric.value),
                "weight": float(metric.cumulated_batch_size),
                "step": meta.on_step,
                "bar": meta.prog_bar,
                "logger": meta.logger,
                "sync": meta.sync.should,
            }
    if trainer.world_size == 1:
        return [own]
    gathered: list[dict[str, Mean]] = [{} for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(gathered, own)
    return gathered


def put_back(trainer: Trainer, means: dict[str, Mean]) -> None:
    """Go on with the sums of a run that was stopped, before its first batch.

    Args:
        trainer: Of the run.
        means: Of this process, as `kept_means` gave them.
    """
    task: Any = trainer.lightning_module
    results = trainer.fit_loop.epoch_loop._results
    connector = trainer._logger_connector
    current = task._current_fx_name
    task._current_fx_name = "training_step"  # what logged them
    for name, mean in means.items():
        task.log(
            name,
            torch.tensor(mean["value"] / mean["weight"]),
            on_step=mean["step"],
            on_epoch=True,
            prog_bar=mean["bar"],
            logger=mean["logger"],
            sync_dist=mean["sync"],
            batch_size=1,
        )
        metric: Any = results[f"training_step.{name}"]
        metric.value = torch.tensor(mean["value"], dtype=metric.value.dtype, device=metric.value.device)
        metric.cumulated_batch_size = metric.cumulated_batch_size * 0 + int(mean["weight"])
    task._current_fx_name = current
    connector._current_fx = "training_step"  # else the first batch would take these for an earlier epoch's
