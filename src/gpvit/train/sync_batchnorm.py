"""What training in several processes needs beyond gradients: one set of batch statistics."""

from typing import Any

import torch.distributed
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import nn


class SyncBatchNorm(TorchSyncBatchNorm):
    """Has batch norms see the batches of all processes, where these run on GPUs and the task wants it.

    Only a GPU can: on CPUs each process has statistics of its own. Detection and segmentation, with few images a
    process, want it; classification was published without.

    Args:
        always: Whatever the task wants.
    """

    def __init__(self, always: bool = False) -> None:
        self.always = always

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norms of a task, or leave it as it is."""
        task: Any = model
        device = task.trainer.strategy.root_device
        wanted = self.always or getattr(task, "sync_batch_norm", False)
        return super().apply(model) if wanted and device.type == "cuda" and task.trainer.world_size > 1 else model


class SharedStatistics(Callback):
    """Gives all processes one set of batch statistics before a validation, those of the first.

    What is scored is then what is written.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send the first process's buffers to the others."""
        if trainer.world_size > 1:
            network: Any = pl_module.network
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)
