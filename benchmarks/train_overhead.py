"""What the loop of `gpvit train` adds to a step, set against a bare loop of the same model.

`python -m benchmarks.train_overhead` trains a model on images in memory, in turns with the loop and without. Forward,
loss, backward, AdamW and the learning rate's schedule are the same; what the loop adds is logging, checks of the loss,
signals, seeds, progress and the bookkeeping of checkpoints. The target is at most 3 %.
"""

import argparse
import contextlib
import io
import tempfile
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import timer
from torch.utils.data import TensorDataset

from gpvit.data import Preprocessing
from gpvit.data.module import ImageData
from gpvit.devices import choose_device, describe_machine
from gpvit.tasks import ClassificationTask
from gpvit.tasks.optim import OptimConfig
from gpvit.train import TrainConfig, fit

CLASSES = 10
WARMUP = 2


class ImagesInMemory(ImageData):
    """Random images, with nothing done to them."""

    def __init__(self, size: int, batch: int, steps: int) -> None:
        names = [str(label) for label in range(CLASSES)]
        super().__init__(names, Preprocessing((3, size, size), (0.5,) * 3, (0.5,) * 3), batch, num_workers=0)
        self.shape = (batch * steps, 3, size, size)

    def setup(self, stage: str | None = None) -> None:
        """Draw the images, and take one batch for validation."""
        images = torch.rand(self.shape, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(len(images)) % CLASSES
        self.train_set = TensorDataset(images, labels)
        self.val_set = TensorDataset(images[: self.batch_size], labels[: self.batch_size])


class TimedTask(ClassificationTask):
    """Reads the clock, which waits for a GPU, whenever a batch has arrived."""

    def __init__(self, name: str) -> None:
        super().__init__(name, optim=OptimConfig(lr=2e-3), mixup_alpha=0.0, cutmix_alpha=0.0)
        self.times: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Compute the loss of a batch."""
        self.times.append(timer())
        return super().training_step(batch, batch_idx)


def loop_round(task: TimedTask, data: ImagesInMemory, device: str) -> None:
    """Train for an epoch by the loop."""
    config = TrainConfig(epochs=1, devices=1, accelerator="gpu" if device == "cuda" else device)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(task, data, config, folder)


def bare_round(task: TimedTask, data: ImagesInMemory, device: str) -> None:
    """Train for an epoch by the fewest lines."""
    place = choose_device(device)
    data.setup("fit")
    task.build(data)
    loader = torch.utils.data.DataLoader(data.train_set, data.batch_size, shuffle=True)
    task.to(place).train()
    optimizer, schedule = task.create_optimizer(
        total_steps=len(loader), epoch_steps=len(loader), images_per_step=data.batch_size
    )
    for index, batch in enumerate(loader):
        task.training_step([each.to(place) for each in batch], index)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_overhead", description=__doc__)
    defaults = {"model": "gpvit_nano", "size": 64, "batch": 64, "steps": 10, "device": "cpu", "rounds": 6}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", default=default, type=type(default))
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {"bare loop": [], "gpvit train": []}
    for number in range(given.rounds):
        turns = list(zip(seconds, (bare_round, loop_round), strict=True))
        for name, run in turns if number % 2 else reversed(turns):
            task = TimedTask(given.model)
            run(task, ImagesInMemory(given.size, given.batch, given.steps + WARMUP), given.device)
            seconds[name] += [after - before for before, after in pairwise(task.times[WARMUP:])]
    print(describe_machine())
    print(f"{given.model}, {given.size} pixels, batch {given.batch}, {given.rounds} rounds of {given.steps} steps")
    bare, loop = (median(durations) for durations in seconds.values())
    print(f"bare loop   {1e3 * bare:8.2f} ms a step")
    print(f"gpvit train {1e3 * loop:8.2f} ms a step, {100 * (loop / bare - 1):+.2f} %")


if __name__ == "__main__":
    main()
