"""The Trainer of a run: its folder, callbacks and loggers."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpvit.tasks.progress import DataReport, EpochLines
from gpvit.tasks.weights import WeightsWriter

TRAINER_DEFAULTS: dict[str, Any] = {"devices": 1, "enable_model_summary": False}

# Advice that is beside the point here; every other warning is shown.
_NOTICES = (
    r"The '\w+' does not have many workers",  # small data sets load fastest in the training process
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    r"Checkpoint directory .* exists and is not empty",  # it is the run folder
    r"Experiment logs directory .* exists and is not empty",
    r"The dirpath has changed from",  # a resumed run has a folder of its own
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    r"You're using the WeightAveraging callback with a model that overrides the configure_model",  # not sharded
)


def build_trainer(
    folder: str | Path,
    callbacks: Sequence[Callback] = (),
    logger: Logger | Sequence[Logger] | bool | None = None,
    **options: Any,
) -> Trainer:
    """Create a Trainer whose run is kept in one folder.

    The folder will hold `metrics.csv`, TensorBoard's events, `last.ckpt` to resume from, the weights
    `best.safetensors` and `last.safetensors`, and what data modules with a `report` write there.

    Args:
        folder: The run folder; new or empty.
        callbacks: More callbacks.
        logger: Loggers in place of the two, or False for none.
        **options: More arguments of Lightning's Trainer. By default one device is used, and progress is a bar on a
            terminal and a line per epoch elsewhere.

    Raises:
        ValueError: If the folder holds anything, or the options ask for what is not there, as a GPU.
    """
    folder = Path(folder)
    if getattr(rank_zero_only, "rank", 0) == 0 and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new run folder, or remove this one")
    if options.get("enable_progress_bar") is None:
        options["enable_progress_bar"] = sys.stdout.isatty()
    own: list[Callback] = [
        DataReport(),
        RichProgressBar(leave=True) if options["enable_progress_bar"] else EpochLines(),
        WeightsWriter(folder),
        # At the end of every epoch, or after every validation where there are more or fewer of them.
        ModelCheckpoint(folder, filename="last", enable_version_counter=False),
    ]
    if logger in (None, True):
        logger = [kind(folder, name="", version="") for kind in (CSVLogger, TensorBoardLogger)]
    options = {**TRAINER_DEFAULTS, **options, "callbacks": [*callbacks, *own], "logger": logger}
    try:
        with quiet():
            return Trainer(default_root_dir=folder, **options)
    except (MisconfigurationException, ModuleNotFoundError) as error:  # of an accelerator without its library
        raise ValueError(f"trainer: {error}") from error


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
