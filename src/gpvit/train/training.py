"""A training run and its results."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gpvit.train.checkpointing import find_checkpoint
from gpvit.train.failures import explained
from gpvit.train.saving import RunSaver
from gpvit.train.trainer import quiet
from gpvit.train.weights import WeightsWriter
from gpvit.version import __version__


def fit(
    trainer: Trainer, task: LightningModule, data: LightningDataModule, resume: str | Path | bool | None = None
) -> dict[str, Any]:
    """Train, and write `metrics.json` into the run folder.

    Args:
        trainer: From `build_trainer`.
        task: What to train.
        data: What to train on.
        resume: A run to go on with, from its last whole checkpoint: a run folder or a `last.ckpt` in it, which are left
            as they are. True goes on with the run in the Trainer's own folder, or starts it if it was not saved yet.

    Returns:
        What `metrics.json` holds: the metrics of the `best` and the `last` weights, each with the number of epochs or
        steps that led to them; the seconds of this run, the seed if one was set, and this package's version.

    Raises:
        FileNotFoundError: If there is no checkpoint to resume from.
        ValueError: If all checkpoints there are damaged.
        Interrupted: When a signal asked the run to stop, and it is saved.
    """
    folder = Path(trainer.default_root_dir)
    checkpoint = _checkpoint(folder, resume)
    if trainer.is_global_zero:
        for torn in folder.glob(".saving-*"):  # weights that a run was ended in the middle of writing
            shutil.rmtree(torn)
    if checkpoint and checkpoint.parent != folder and trainer.is_global_zero:
        for name in ("best.safetensors", "ema_best.safetensors"):
            if (best := checkpoint.parent / name).is_file():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(best, folder / name)
    start = time.monotonic()
    with quiet(), explained(trainer, task):
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        (writer,) = (callback for callback in trainer.callbacks if isinstance(callback, WeightsWriter))  # type: ignore[attr-defined]
        if trainer.global_step > writer.last_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            (saver,) = (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, RunSaver))
            saver.save(trainer, "epoch")
    summary = {
        "best": writer.best,
        "last": writer.last,
        "seconds": round(time.monotonic() - start, 1),
        "seed": int(os.environ["PL_GLOBAL_SEED"]) if "PL_GLOBAL_SEED" in os.environ else None,
        "version": __version__,
    }
    if trainer.is_global_zero and folder.is_dir():
        temporary = folder / ".metrics.json"
        temporary.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, folder / "metrics.json")
    return summary


def _checkpoint(folder: Path, resume: str | Path | bool | None) -> Path | None:
    """Find what to go on from; None starts at the beginning."""
    if not resume:
        return None
    if resume is not True:
        place = Path(resume)
        checkpoint = find_checkpoint(place)
        if checkpoint is None:
            raise FileNotFoundError(f"no checkpoint in {place}; a run writes last.ckpt into its folder")
        return checkpoint
    checkpoint = find_checkpoint(folder) if folder.is_dir() else None
    if checkpoint is None:
        rank_zero_only(print)(f"no checkpoint in {folder} yet: starting from the beginning", flush=True)
        (folder / "metrics.csv").unlink(missing_ok=True)  # of the start that was not saved
    return checkpoint
