"""When a run is saved, and how it goes on exactly where it was."""

from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from gpvit.data.samplers import ResumableBatchSampler
from gpvit.errors import UserError
from gpvit.train.checkpointing import LAST
from gpvit.train.epoch_means import kept_means, put_back
from gpvit.train.metrics_file import MetricsFile
from gpvit.train.preemption import Interruption

Moment = Literal["batch", "validation", "validated", "epoch"]
"""Before a batch, before a validation, after a validation within an epoch, or after an epoch."""


class RunSaver(Checkpoint):
    """Writes `last.ckpt` so that a run which goes on from it ends as if it had never stopped.

    It does so at the end of every epoch, or after every validation where there are more or fewer of them; before
    every validation, which may take long; every so many optimiser steps; and when a signal asks the run to stop.
    Lightning alone would leave out a validation, or count an epoch twice, depending on the moment. Where a validation
    takes place while gradients are accumulated, the checkpoint follows at the end of that step.

    Args:
        folder: The run folder.
        every_steps: Optimiser steps from one checkpoint to the next within an epoch; None for none.

    Attributes:
        in_between: Whether what is being saved is not at the end of an epoch or of a validation, so that there are no
            scores of it.
    """

    def __init__(self, folder: str | Path, every_steps: int | None = None) -> None:
        if every_steps is not None and every_steps < 1:
            raise UserError(f"checkpoint_every {every_steps}: give 1 optimiser step or more")
        self.path = Path(folder) / LAST
        self.every_steps = every_steps
        self.in_between = False
        self._interruption = Interruption()
        self._moment: Moment | None = None
        self._late = False
        self._saved_step = 0
        self._restored: dict[str, Any] = {}

    def save(self, trainer: Trainer, moment: Moment) -> None:
        """Write a checkpoint; all processes must call it.

        Args:
            trainer: Of the run.
            moment: Where in the run this is.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._moment, self.in_between = moment, moment in ("batch", "validation")
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._moment, self.in_between = None, False
        self._saved_step, self._late = trainer.global_step, False

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look out for signals."""
        self._interruption.watch(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look out for signals, and place the loops and the loader where the checkpoint was."""
        self._interruption.watch(trainer)
        self._saved_step = trainer.global_step
        if moment := self._restored.get("moment"):
            _place(trainer, moment)
            means = self._restored["means"]
            put_back(trainer, means[trainer.global_rank] if len(means) == trainer.world_size else {})
            last = {name: torch.tensor(value) for name, value in self._restored["last_means"].items()}
            trainer._logger_connector._callback_metrics.update(last)
        self._restored = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Between two optimiser steps, save what is due, and stop if a signal asked for it."""
        if batch_idx % trainer.accumulate_grad_batches:
            return
        stops = self._interruption.agreed(trainer)
        steps = trainer.global_step - self._saved_step
        if steps and (stops or self._late or (self.every_steps and trainer.global_step % self.every_steps == 0)):
            self.save(trainer, "batch")
        if stops:
            self._stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the run before a validation, whose length a stop need not wait for."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or _in_step(trainer):
            return
        if trainer.global_step > self._saved_step:
            self.save(trainer, "validation")
        if self._interruption.agreed(trainer):
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Stop if a signal asked for it; what there is to keep was saved before."""
        if self._interruption.number and not trainer.sanity_checking and not _in_step(trainer):
            self._stop(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, with the scores, unless the end of the epoch does."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or saves_by_epoch(trainer):
            return
        if not _in_step(trainer):
            self.save(trainer, "validated")
        elif not trainer.fast_dev_run:  # type: ignore[attr-defined]
            # The weights with their scores are written now, all that a run goes on from when the step is done.
            trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            self._late = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the means of the epoch before, which were logged after it was saved, on the disk, too."""
        for logger in trainer.loggers:
            logger.save()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, with the epoch's scores."""
        if saves_by_epoch(trainer):
            self.save(trainer, "epoch")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write down where in the run this is, in terms that the loops go on from correctly."""
        if self._moment is None:  # saved by someone else, at any moment
            return
        loops = checkpoint["loops"]["fit_loop"]
        _REWRITE[self._moment](loops)
        checkpoint[_KEY] = {
            "moment": self._moment,
            "rows": [logger.rows() for logger in trainer.loggers if isinstance(logger, MetricsFile)],
            "steps_logged": loops["epoch_loop.state_dict"]["_batches_that_stepped"],
            "means": [] if self._moment == "epoch" else kept_means(trainer),
            "last_means": {n: float(v) for n, v in trainer.callback_metrics.items() if n.startswith("train/")},
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take over where the run was, and cut `metrics.csv` there if the run goes on in its own folder."""
        self._restored = checkpoint.get(_KEY, {})
        rows = self._restored.get("rows", [])
        files = [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
        for logger, count in zip(files, rows, strict=False):
            # the means of an epoch are logged after it was saved
            until = self._restored["steps_logged"] if self._restored["moment"] == "epoch" else 0
            logger.cut(count, until)

    def _stop(self, trainer: Trainer) -> None:
        saved = f"{self.path} is after step {self._saved_step}" if self._saved_step else "nothing was learned yet"
        self._interruption.stop(trainer, saved)


_KEY = "gpvit_position"


def _in_step(trainer: Trainer) -> bool:
    """Tell whether gradients are being accumulated, which no checkpoint holds."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def saves_by_epoch(trainer: Trainer) -> bool:
    """Tell whether a run is saved after its epochs, and not after its validations."""
    if not trainer.enable_validation:
        return True
    return trainer.check_val_every_n_epoch is not None and trainer.val_check_interval == 1.0


def _before_batch(loops: dict[str, Any]) -> None:
    """Take back that a batch, which was fetched but not trained on, is ready."""
    progress = loops["epoch_loop.batch_progress"]
    progress["total"]["ready"] -= 1
    progress["current"]["ready"] -= 1
    progress["is_last_batch"] = False


def _before_validation(loops: dict[str, Any]) -> None:
    """Say that a validation has begun, but not how far it came: all of it is then run."""
    progress = loops["epoch_loop.val_loop.batch_progress"]
    progress["total"] = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] = dict.fromkeys(progress["total"], 0)
    progress["is_last_batch"] = False


def _after_validation(loops: dict[str, Any]) -> None:
    """Lightning goes on from here correctly."""


def _after_epoch(loops: dict[str, Any]) -> None:
    """Say that the epoch is over; Lightning counts it later, and again where steps limit the run."""
    progress = loops["epoch_progress"]
    for count in ("total", "current"):
        progress[count]["completed"] = progress[count]["processed"]


_REWRITE = {
    "batch": _before_batch,
    "validation": _before_validation,
    "validated": _after_validation,
    "epoch": _after_epoch,
}


def _place(trainer: Trainer, moment: Moment) -> None:
    """Place the loops, which were loaded but not started, and the loader where the checkpoint was."""
    epoch_loop = trainer.fit_loop.epoch_loop
    done = epoch_loop.batch_progress.current.ready
    if moment == "epoch":
        # an epoch begins: nothing of the one before is to be finished
        for loop in (trainer.fit_loop, epoch_loop, epoch_loop.val_loop):
            loop._restarting = False
            loop.reset_restart_stage()
        done = 0
    elif moment == "batch" and epoch_loop._should_check_val_fx(trainer.fit_loop._data_fetcher):  # type: ignore[arg-type]
        # Lightning passes over that validation, which took place, and counts the step before it again
        epoch_loop._batches_that_stepped -= 1
    loader: Any = trainer.train_dataloader
    if isinstance(loader.batch_sampler, ResumableBatchSampler) and done < trainer.num_training_batches:
        loader.batch_sampler.skip(done)
