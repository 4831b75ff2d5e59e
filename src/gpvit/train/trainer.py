"""The Trainer of a run: its folder, callbacks and loggers."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpvit.errors import UserError
from gpvit.train.checkpointing import CheckpointFiles
from gpvit.train.companions import CompanionWatch
from gpvit.train.metrics_file import MetricsFile
from gpvit.train.monitoring import RunMonitor
from gpvit.train.progress import DataReport, EpochLines, RunBar
from gpvit.train.saving import RunSaver
from gpvit.train.seeding import StepSeeds
from gpvit.train.sync_batchnorm import SharedStatistics, SyncBatchNorm
from gpvit.train.weights import WeightsWriter

TRAINER_DEFAULTS: dict[str, Any] = {
    "devices": 1,
    "enable_model_summary": False,
    "use_distributed_sampler": False,  # the data know their processes by themselves
}

# Advice that is beside the point here; every other warning is shown.
_NOTICES = (
    r"The '\w+' does not have many workers",  # small data sets load fastest in the training process
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"Checkpoint directory .* exists and is not empty",  # it is the run folder
    r"Experiment logs directory .* exists and is not empty",
    r"The dirpath has changed from",  # a resumed run has a folder of its own
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"`training_step` returned `None`",  # a loss that was passed over, which is told by itself
    r"Found \d+ module\(s\) in eval mode at the start of training",  # those that are frozen
    r"It is recommended to use `self.log\('(speed|memory)/",  # these are the first process's
    r"Grad strides do not match bucket view strides",  # of a few depthwise kernels, copied at no cost to speak of
    r"FSDP2-wrapped module \(.*\) returned a view tensor",  # nothing changes it in place
    r"You're using the WeightAveraging callback with a model that overrides the configure_model",  # not sharded
)


def build_trainer(
    folder: str | Path,
    callbacks: Sequence[Callback] = (),
    logger: Logger | Sequence[Logger] | bool | None = None,
    checkpoint_every: int | None = None,
    goes_on: bool = False,
    **options: Any,
) -> Trainer:
    """Create a Trainer whose run is kept in one folder.

    The folder will hold `metrics.csv`, TensorBoard's events, `last.ckpt` to resume from, the weights
    `best.safetensors` and `last.safetensors`, and what data modules with a `report` write there.

    Args:
        folder: The run folder; new or empty.
        callbacks: More callbacks.
        logger: Loggers in TensorBoard's place, beside `metrics.csv`; or False for none at all.
        checkpoint_every: Optimiser steps from one `last.ckpt` to the next within an epoch, beside those at its end.
        goes_on: Whether the folder may hold a run, which `fit(..., resume=True)` goes on with.
        **options: More arguments of Lightning's Trainer. By default one device is used, and progress is a bar on a
            terminal and a line per epoch elsewhere. Batch norms are synchronised among GPUs where the task wants it;
            `sync_batchnorm` has them so for any task.

    Raises:
        ValueError: If the folder holds anything, or the options ask for what is not there, as a GPU.
    """
    folder = Path(folder)
    if not goes_on and getattr(rank_zero_only, "rank", 0) == 0 and folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder} is not empty; name a new run folder, or remove this one, or go on with its run by --resume"
        )
    if options.get("enable_progress_bar") is None:
        options["enable_progress_bar"] = sys.stdout.isatty()
    monitor = RunMonitor()
    own: list[Callback] = [
        CompanionWatch(),
        DataReport(),
        SharedStatistics(),
        monitor,
        RunBar(monitor) if options["enable_progress_bar"] else EpochLines(monitor),
        WeightsWriter(folder),
        StepSeeds(),
        RunSaver(folder, checkpoint_every),
    ]
    if logger is not False:
        given = [TensorBoardLogger(folder, name="", version="")] if logger in (None, True) else _as_list(logger)
        logger = [MetricsFile(folder, keep=goes_on), *given]
    plugins = [
        *_as_list(options.get("plugins")),
        CheckpointFiles(),
        SyncBatchNorm(always=bool(options.get("sync_batchnorm"))),
    ]
    options = {**TRAINER_DEFAULTS, **options, "callbacks": [*callbacks, *own], "logger": logger, "plugins": plugins}
    try:
        with quiet():
            return Trainer(default_root_dir=folder, **options)
    except (MisconfigurationException, ModuleNotFoundError) as error:  # of an accelerator without its library
        raise UserError(f"trainer: {error}") from error


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's notices and advertisements out of the output; warnings that matter stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _NOTICES:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
