"""Small runs that are stopped and resumed, and what they leave behind; as a script, `runs.py FOLDER [--NAME VALUE]`."""

import csv
import sys
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from gpvit.data import Digits
from gpvit.tasks import ClassificationTask
from gpvit.tasks.optim import OptimConfig
from gpvit.train import TrainConfig, fit

MEASURED = ("speed/", "memory/")
SETTINGS = {"accelerator": "cpu", "accumulate": 2, "checkpoint_every": 1, "ema": 0.9, "devices": 1, "loggers": ()}


class Stopped(Exception):
    """Ends a run as suddenly as a signal that cannot be caught."""


class FewDigits(Digits):
    """An epoch of 28 images: with batches of 4, seven batches."""

    def __init__(self, images: int = 28, val_images: int = 8, names: Any = "0123456789", **options: Any) -> None:
        super().__init__(image_size=32, **options)
        self.class_names, self.num_classes = tuple(names), len(names)
        self.images, self.val_images = images, val_images

    def setup(self, stage: str | None = None) -> None:
        if self.val_set is None:
            super().setup(stage)
            self.train_set = Subset(self.train_set, range(self.images))
            self.val_set = Subset(self.val_set, range(self.val_images))


class SmallTask(ClassificationTask):
    """Draws random numbers for Mixup and drop path; calls `before` before each batch, of training or validation."""

    def __init__(self, before: Callable[[str], None] = lambda kind: None, **options: Any) -> None:
        options = {"optim": OptimConfig(lr=1e-3), "drop_path_rate": 0.3, **options}
        super().__init__("gpvit_nano", **options)
        self.before = before

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        self.before("train")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.before("val")
        super().validation_step(batch, batch_idx)


def stop_after(batches: int, kind: str = "train") -> Callable[[str], None]:
    """End a run when it has had so many batches of a kind."""
    left = [batches]

    def before(now: str) -> None:
        left[0] -= now == kind
        if left[0] < 0:
            raise Stopped

    return before


def run(
    folder: Path, resume: Any = False, before: Any = None, task: Any = None, data: dict | None = None, **settings: Any
) -> dict[str, Any]:
    """Train with all that draws random numbers, averaging and accumulation: an epoch has three steps of two batches."""
    torch.manual_seed(0)
    task = task or SmallTask(before or (lambda kind: None))
    settings = {**({} if "steps" in settings else {"epochs": 2}), **SETTINGS, **settings}
    if "global_batch_size" in settings:
        del settings["accumulate"]
    return fit(task, FewDigits(**{"batch_size": 4, **(data or {})}), TrainConfig(**settings), folder, resume=resume)


def content(folder: Path) -> dict[str, Any]:
    """Read all that `last.ckpt` holds, by its place in it."""
    return dict(_flat(torch.load(folder / "last.ckpt", weights_only=True), ""))


def differences(one: Path, other: Path) -> list[str]:
    """Name all that differs between two runs' `last.ckpt`, to the last bit, but what is measured."""
    first, second = content(one), content(other)
    return [n for n in {**first, **second} if not (n in first and n in second and _same(first[n], second[n]))]


def metrics(folder: Path) -> list[dict[str, str]]:
    """Read `metrics.csv` but what is measured."""
    with (folder / "metrics.csv").open() as file:
        return [{n: v for n, v in row.items() if not n.startswith(MEASURED)} for row in csv.DictReader(file)]


def _flat(value: Any, name: str):
    if isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(part, f"{name}.{key}")
    elif not any(word in name for word in MEASURED):
        yield name, value


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = {name.removeprefix("--"): value for name, value in zip(sys.argv[2::2], sys.argv[3::2], strict=True)}
    data = {name: int(given.pop(name)) for name in ("images", "val_images", "num_workers") if name in given}
    run(Path(sys.argv[1]), data=data, **{name: literal_eval(value) for name, value in given.items()})
