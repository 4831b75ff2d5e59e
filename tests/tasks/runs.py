"""Small runs that are stopped and go on, and what they leave behind."""

import csv
from pathlib import Path
from typing import Any

import torch
from lightning import Callback

from gpvit.data import Digits
from gpvit.tasks import ClassificationTask
from gpvit.train import ModelEMA, build_trainer, fit

MEASURED = ("images", "data", "memory", "hours", "seconds", "eta", "left", "wait")


class Stopped(Exception):
    """Ends a run as suddenly as a signal that cannot be caught."""


class StopAfter(Callback):
    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.batches:
            raise Stopped


def run(folder: Path, resume: Any = None, stop: int | None = None, workers: int = 0, **options: Any) -> dict[str, Any]:
    """Train with all that draws random numbers: Mixup, drop path, augmentation; with averaging and accumulation.

    An epoch has seven batches, and so four optimiser steps.
    """
    torch.manual_seed(0)
    task = ClassificationTask("gpvit_nano", {"drop_path_rate": 0.3}, warmup_epochs=0)
    data = Digits(image_size=32, batch_size=4, num_workers=workers)
    callbacks = [ModelEMA(0.9)] + ([StopAfter(stop)] if stop else [])
    settings = {
        "accelerator": "cpu",
        "accumulate_grad_batches": 2,
        "checkpoint_every": 1,
        "goes_on": resume is True,
        "limit_train_batches": 7,
        "limit_val_batches": 1,
        "log_every_n_steps": 1,
        "max_epochs": 2,
        "num_sanity_val_steps": 0,
    }
    return fit(build_trainer(folder, callbacks, **{**settings, **options}), task, data, resume)


def content(folder: Path) -> dict[str, Any]:
    """Read all that `last.ckpt` holds, by its place in it."""
    return dict(_flat(torch.load(folder / "last.ckpt", weights_only=True), ""))


def differences(one: Path, other: Path) -> list[str]:
    """Name all that differs between two runs' `last.ckpt`, to the last bit."""
    first, second = content(one), content(other)
    return [n for n in {**first, **second} if not (n in first and n in second and _same(first[n], second[n]))]


def metrics(folder: Path) -> list[dict[str, str]]:
    """Read `metrics.csv` but what is measured."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{n: v for n, v in row.items() if v and not any(word in n for word in MEASURED)} for row in rows]


def _flat(value: Any, name: str):
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(part, f"{name}.{key}")
    elif not any(word in name.lower() for word in ("monitor", ".rows.")):
        yield name, value


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
