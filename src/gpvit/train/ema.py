"""Averaged weights beside those that are trained."""

from copy import deepcopy
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchmetrics import Metric

from gpvit.errors import UserError
from gpvit.train.progress import current_metrics, position
from gpvit.train.weights import WeightsWriter

_KEY = "gpvit_averaged_weights"


class ModelEMA(Callback):
    """Keeps an exponential moving average of the weights, and scores and writes it beside the weights themselves.

    After every optimiser step the average moves towards the weights by `1 - decay`, at first by more, so that it
    soon forgets the random weights it starts from: after n steps the decay is at most `(1 + n) / (10 + n)`. Running
    statistics of batch norms are averaged alike. Training does not notice.

    Every validation batch is scored twice: `val/top1` is of the weights, `val/ema_top1` of their average, and so on
    for every metric. `ema_last.safetensors` is written with `last.safetensors`, `ema_best.safetensors` when the
    averaged weights' score improves. The average is part of `last.ckpt`, so that a resumed run goes on with it. It
    takes the memory of one more model.

    Args:
        decay: Share of the average that a step keeps, between 0 and 1; 0.9998 forgets half in about 3,500 steps.

    Attributes:
        best: Metrics of the best averaged weights, with the number of epochs or steps that led to them.

    Raises:
        ValueError: If the decay is no such share.
    """

    def __init__(self, decay: float = 0.9998) -> None:
        if not 0 < decay < 1:
            raise UserError(f"decay {decay}: give a share between 0 and 1, as 0.9998")
        self.decay = decay
        self.best: dict[str, float] = {}
        self._average: Any = None
        self._updates = self._step = 0
        self._restored: dict[str, Any] | None = None
        self._scores: dict[str, Metric] = {}
        self._means: dict[str, list[torch.Tensor]] = {}

    @property
    def network(self) -> nn.Module:
        """The network with averaged weights; there is none before training starts."""
        if self._average is None:
            raise RuntimeError("there are no averaged weights before training starts")
        network: nn.Module = self._average.network
        return network

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the average from the weights, or go on with that of a checkpoint.

        Raises:
            ValueError: If no process holds whole weights.
        """
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise UserError("ModelEMA needs whole weights in each process: set trainer.strategy to ddp")
        self._average = deepcopy(pl_module).requires_grad_(False).eval()
        self._average.trainer = trainer
        self._average.log, self._average.log_dict = self._note, self._note_all
        if self._restored is not None:
            self.network.load_state_dict(self._restored)
            self._restored = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the step that training starts from, which a checkpoint's is known by now."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average, if the optimiser took a step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._updates += 1
        network: Any = pl_module.network
        average(self.network, network, min(self.decay, (1 + self._updates) / (10 + self._updates)))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score one average in all processes, the first one's, which is written; others differ in batch statistics."""
        if self._average is not None and trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score the batch with averaged weights."""
        if self._average is not None and not trainer.sanity_checking:
            with trainer.precision_plugin.val_step_context():
                self._average.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the averaged weights' scores over all validation images."""
        if self._average is None or trainer.sanity_checking:
            return
        self._average.on_validation_epoch_end()
        scores = {name: score.compute() for name, score in self._scores.items()}
        for name, sums in self._means.items():
            total, weight = trainer.strategy.reduce(torch.stack(sums), reduce_op="sum")
            scores[name] = total / weight
        for score in self._scores.values():
            score.reset()
        self._scores, self._means = {}, {}
        for name, value in scores.items():
            pl_module.log(averaged_name(name), value, sync_dist=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the averaged weights with the others."""
        if self._average is None:
            return
        metrics = current_metrics(trainer)
        metric = averaged_name(str(pl_module.best_metric))
        improved = metric in metrics and metrics[metric] > self.best.get(metric, float("-inf"))
        if improved:
            self.best = {**position(trainer), **metrics}
        state = self.network.state_dict()
        checkpoint[_KEY] = {"state_dict": state, "updates": self._updates, "best": self.best}
        if trainer.is_global_zero:
            (writer,) = (callback for callback in trainer.callbacks if isinstance(callback, WeightsWriter))  # type: ignore[attr-defined]
            state = {f"network.{name}": tensor for name, tensor in state.items()}
            writer.write(trainer, pl_module, state, ["ema_last", "ema_best"] if improved else ["ema_last"])

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the average of a checkpoint; one that was written without any starts a new average."""
        if _KEY in checkpoint:
            own = checkpoint[_KEY]
            self._restored, self._updates, self.best = own["state_dict"], own["updates"], own["best"]

    def _note(self, name: str, value: Any, batch_size: int = 1, **_: Any) -> None:
        """Stand in for the averaged task's own logging, which the Trainer does not know."""
        if isinstance(value, Metric):
            self._scores[name] = value
            return
        value = torch.as_tensor(value, dtype=torch.float32, device=self._average.device).detach()
        sums = self._means.setdefault(name, [torch.zeros_like(value), torch.zeros_like(value)])
        self._means[name] = [sums[0] + value * batch_size, sums[1] + batch_size]

    def _note_all(self, values: Any, **options: Any) -> None:
        for name, value in values.items():
            self._note(name, value, **options)


def averaged_name(name: str) -> str:
    """Name the metric of averaged weights.

    Example:
        >>> averaged_name("val/top1")
        'val/ema_top1'
    """
    phase, _, metric = name.rpartition("/")
    return f"{phase}/ema_{metric}"


@torch.no_grad()
def average(averaged: nn.Module, trained: nn.Module, decay: float) -> None:
    """Move one network's weights towards another's.

    Args:
        averaged: What is moved: floating-point parameters and buffers by the average, counts by copying.
        trained: The same network with other weights.
        decay: Share of the average that is kept.
    """
    pairs = list(zip(averaged.state_dict().values(), trained.state_dict().values(), strict=True))
    moved = [pair for pair in pairs if pair[0].is_floating_point()]
    old, new = ([pair[side] for pair in moved] for side in (0, 1))
    get_ema_multi_avg_fn(decay)(old, new, 0)
    for count, current in pairs:
        if not count.is_floating_point():
            count.copy_(current)
