"""What the engine of `gpvit train` adds to a step, set against a bare loop of the same model.

`python -m benchmarks.train_overhead` trains a model on images in memory, in turns with the engine and without. Forward,
loss, backward, AdamW and the learning rate's schedule are the same; what the engine adds is logging, checks of the
loss, progress, callbacks and the bookkeeping of checkpoints. The target is at most 3 %.
"""

import argparse
import contextlib
import io
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from lightning import Callback, LightningModule, Trainer
from torch.utils.data import TensorDataset

from gpvit.data import Preprocessing
from gpvit.data.module import ImageData
from gpvit.devices import choose_device
from gpvit.profile.machine import describe_machine
from gpvit.tasks import ClassificationTask
from gpvit.tasks.optimizers import adamw
from gpvit.tasks.schedules import warmup_cosine
from gpvit.train import build_trainer, fit

CLASSES = 10
WARMUP = 2


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Args:
        model: Name of a classifier of the catalog.
        size: Side of the images in pixels.
        batch: Images of a step.
        steps: Timed steps of a round.
        device: `cpu` or `cuda`.
    """

    model: str = "gpvit_nano"
    size: int = 64
    batch: int = 64
    steps: int = 10
    device: str = "cpu"

    @property
    def images(self) -> torch.Tensor:
        """Images for all steps of a round, `(N, 3, size, size)`."""
        count = self.batch * (self.steps + WARMUP)
        return torch.rand(count, 3, self.size, self.size, generator=torch.Generator().manual_seed(0))


class ImagesInMemory(ImageData):
    """Random images, with nothing done to them."""

    def __init__(self, setting: Setting) -> None:
        size = (3, setting.size, setting.size)
        names = [str(label) for label in range(CLASSES)]
        super().__init__(names, Preprocessing(size, (0.5,) * 3, (0.5,) * 3), setting.batch, num_workers=0)
        self.setting = setting

    def setup(self, stage: str | None = None) -> None:
        """Draw the images."""
        images = self.setting.images
        self.train_set = self.val_set = TensorDataset(images, torch.arange(len(images)) % CLASSES)


class StepClock(Callback):
    """Reads the clock when a batch has arrived; from one time to the next is a whole step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Read the clock."""
        _wait(trainer.strategy.root_device)
        self.times.append(time.perf_counter())


def engine_round(setting: Setting, averaged: Callback | None = None) -> list[float]:
    """Train with the engine and return the seconds of each timed step.

    Args:
        setting: What is trained.
        averaged: One more callback.
    """
    torch.manual_seed(0)
    clock = StepClock()
    task = ClassificationTask(setting.model, warmup_epochs=0, mixup_alpha=0.0, cutmix_alpha=0.0)
    accelerator = "gpu" if setting.device.startswith("cuda") else "cpu"
    options = {"accelerator": accelerator, "max_epochs": 1, "limit_val_batches": 0, "enable_progress_bar": False}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        callbacks = [clock] if averaged is None else [clock, averaged]
        fit(build_trainer(Path(folder) / "run", callbacks, **options), task, ImagesInMemory(setting))
    return _durations(clock.times)


def bare_round(setting: Setting) -> list[float]:
    """Train in a loop of its own and return the seconds of each timed step."""
    torch.manual_seed(0)
    device = choose_device(setting.device)
    task = ClassificationTask(setting.model)
    network = task.create_network(num_classes=CLASSES, in_chans=3, img_size=(setting.size, setting.size)).to(device)
    optimizer = adamw(network.train(), 2e-3, (0.9, 0.999), 0.05)
    total = setting.steps + WARMUP
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, total))
    labels = torch.arange(setting.batch * total) % CLASSES
    data = TensorDataset(setting.images, labels)
    times = []
    for images, targets in torch.utils.data.DataLoader(data, setting.batch, shuffle=True):
        images, targets = images.to(device), targets.to(device)
        _wait(device)
        times.append(time.perf_counter())
        optimizer.zero_grad()
        F.cross_entropy(network(images), targets, label_smoothing=0.1).backward()
        optimizer.step()
        schedule.step()
    return _durations(times)


def measure(setting: Setting, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a step with the engine and without, over rounds that take turns.

    Args:
        setting: What is trained.
        rounds: How often each is run.
    """
    seconds: dict[str, list[float]] = {"engine": [], "bare": []}
    for number in range(rounds):
        turns = [("engine", engine_round), ("bare", bare_round)]
        for name, run in turns if number % 2 else reversed(turns):
            seconds[name] += run(setting)
    return median(seconds["engine"]), median(seconds["bare"])


def _durations(times: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(times[WARMUP:])]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_overhead", description=__doc__)
    for name, default in (("model", "gpvit_nano"), ("size", 64), ("batch", 64), ("steps", 10), ("device", "cpu")):
        parser.add_argument(f"--{name}", default=default, type=type(default))
    parser.add_argument("--rounds", default=6, type=int)
    settings = vars(parser.parse_args())
    rounds = settings.pop("rounds")
    setting = Setting(**settings)
    engine, bare = measure(setting, rounds)
    print(describe_machine())
    print(f"{setting.model}, {setting.size} pixels, batch {setting.batch}, {rounds} rounds of {setting.steps} steps")
    print(f"bare loop  {1e3 * bare:8.2f} ms a step")
    print(f"gpvit train{1e3 * engine:8.2f} ms a step, {100 * (engine / bare - 1):+.2f} %")


if __name__ == "__main__":
    main()
