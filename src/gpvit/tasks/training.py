"""A training run and its results."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer

from gpvit.tasks.trainer import quiet
from gpvit.tasks.weights import WeightsWriter
from gpvit.version import __version__


def fit(
    trainer: Trainer, task: LightningModule, data: LightningDataModule, resume: str | Path | None = None
) -> dict[str, Any]:
    """Train, and write `metrics.json` into the run folder.

    Args:
        trainer: From `build_trainer`.
        task: What to train.
        data: What to train on.
        resume: The `last.ckpt` of a run to go on with; that run's folder is left as it is.

    Returns:
        What `metrics.json` holds: the metrics of the `best` and the `last` weights, each with the number of epochs or
        steps that led to them; the seconds of this run, the seed if one was set, and this package's version.

    Raises:
        FileNotFoundError: If there is no checkpoint to resume from.
    """
    folder = Path(trainer.default_root_dir)
    if resume is not None:
        resume = Path(resume)
        if not resume.is_file():
            raise FileNotFoundError(f"no checkpoint at {resume}; a run writes last.ckpt into its folder")
        best = resume.parent / "best.safetensors"
        if trainer.is_global_zero and best.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(best, folder / best.name)
    start = time.monotonic()
    with quiet():
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        (writer,) = (callback for callback in trainer.callbacks if isinstance(callback, WeightsWriter))  # type: ignore[attr-defined]
        if trainer.global_step > writer.last_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(folder / "last.ckpt")
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
