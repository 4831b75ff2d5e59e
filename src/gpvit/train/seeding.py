"""Random numbers of training steps that depend on the seed and the step alone."""

import random
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from gpvit.data.samplers import Seeded, run_seed, seed_random


class StepSeeds(Callback):
    """Seeds Python, NumPy and torch, accelerators too, before every batch, from the seed, the process and the batch.

    Drop path, Mixup and dropout are then the same in a run that was stopped and went on, without any random state
    being kept, whatever was drawn in between. Training data do so by themselves; a run that goes on takes the order of
    the run before.

    Attributes:
        seed: Of the run; None before it starts.
    """

    def __init__(self) -> None:
        self.seed: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the seed, or tell the data that of the run before."""
        loader: Any = trainer.train_dataloader
        if self.seed is None:
            self.seed = loader.dataset.seed if isinstance(loader.dataset, Seeded) else run_seed()
        elif isinstance(loader.dataset, Seeded):
            loader.dataset.seed = loader.batch_sampler.seed = self.seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed what the batch will draw."""
        assert self.seed is not None
        seed_random(self.seed, trainer.fit_loop.total_batch_idx, trainer.global_rank)
        if torch.accelerator.is_available():
            torch.manual_seed(random.getrandbits(63))

    def state_dict(self) -> dict[str, Any]:
        """Keep the seed."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the seed over."""
        self.seed = state_dict["seed"]
