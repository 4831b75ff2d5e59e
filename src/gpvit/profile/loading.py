"""Whether the data keep up with the model: images per second of every stage of loading, beside a training step's."""

import math
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from gpvit.data.module import ImageData
from gpvit.devices import describe_machine
from gpvit.errors import UserError
from gpvit.profile.benchmark import Report
from gpvit.profile.measure import Step, duration
from gpvit.train.config import TrainConfig
from gpvit.train.loop import Run
from gpvit.train.processes import launch

_COLUMNS = {
    "stage": ("stage", ""),
    "workers": ("workers", ""),
    "images_per_second": ("images/s", ".4g"),
    "images_per_second_per_core": ("per core", ".4g"),
    "training_images_per_second": ("training at most", ".4g"),
}


def training_step(task: Any, data: ImageData, config: TrainConfig, device: str, batch: Any) -> tuple[Step, int]:
    """Make the optimiser step of a recipe on one device, again and again on one batch, and tell of how many it is.

    A CPU computes in 32-true in place of 16-mixed; nothing is logged or written.
    """
    precision = "32-true" if device == "cpu" and config.precision.startswith("16") else config.precision
    config = replace(config, devices=1, nodes=1, accelerator=device.partition(":")[0], precision=precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of schedules, which have no bearing on the time
        run = Run(launch(config), task, data, config, Path(), start=None)
    run.module.train()
    batch = run.fabric.to_device(batch)

    def step() -> None:
        for _ in range(run.accumulate):
            run.fabric.backward(run.forward(run.module.training_step, batch, 0)["loss"] / run.accumulate)
        if config.clip:
            run.fabric.clip_gradients(run.module, run.optimizer, max_norm=config.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()

    return step, run.accumulate


def measure_loading(
    data: ImageData,
    num_workers: Sequence[int] = (0, 1, 2),
    rounds: int = 10,
    warmup: int = 2,
    model: Callable[[Any], tuple[Step, int]] | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> Report:
    """Time decoding alone, decoding with augmentation, the whole loader, and the training step of a model.

    `rounds` and `warmup` count batches; of a loader at least two and one more for each worker. `model` makes of a batch
    what `training_step` returns; None times the data alone.
    """
    if rounds < 1 or warmup < 0 or not num_workers or min(num_workers) < 0:
        raise UserError(
            f"rounds {rounds}, warmup {warmup} and numbers of workers {list(num_workers)}: give at least 1 round, 0 "
            "batches of warm-up, and numbers of 0 or more"
        )
    data.setup("fit")
    rates, step_rate = {}, None
    stages = _single_process(data, rounds, warmup)
    for workers in num_workers:
        batch, rates[workers] = _loader(data, workers, rounds, warmup)
    if model is not None:
        step, batches = model(batch)
        first, turns = math.ceil(warmup / batches), math.ceil(rounds / batches)
        bar = track(range(first + turns), "training step", console=Console(stderr=True), disable=not progress)
        step_rate = len(batch[0]) * batches / float(np.median([duration(step) for _ in bar][first:]))
    rows = [_row(name, rate) for name, rate in stages.items()]
    for workers, rate in rates.items():
        # Without workers, loading takes turns with the model.
        both = step_rate and (min(rate, step_rate) if workers else 1 / (1 / rate + 1 / step_rate))
        rows.append(_row("whole loader", rate, workers, both))
    if step_rate is not None:
        rows.append(_row("training step", step_rate) | {"images_per_second_per_core": None})
    settings = {"batch_size": data.batch_size, "device": device}
    return Report(rows, _COLUMNS, settings, [verdict(rates, step_rate, device)], "batch {batch_size}, {device}")


def verdict(loaders: dict[int, float], step: float | None, device: str) -> str:
    """Say whether the loader, whose images per second go by its number of workers, or the model is the bottleneck."""
    if step is None:
        return "Give a recipe in place of the data to set this beside the training step of its model."
    shared = " Each was timed alone; here they share the cores." if device == "cpu" else ""
    if enough := [workers for workers, rate in loaders.items() if workers and rate >= step]:
        return (
            f"The model is the bottleneck: with num_workers {min(enough)} the loader gives "
            f"{loaders[min(enough)]:.4g} images/s, and a training step takes {step:.4g}.{shared}"
        )
    fastest = max(loaders, key=lambda workers: loaders[workers])
    per_worker = max(rate / max(workers, 1) for workers, rate in loaders.items())
    return (
        f"The loader is the bottleneck: with num_workers {fastest} it gives {loaders[fastest]:.4g} images/s, and a "
        f"training step could take {step:.4g}. About {math.ceil(step / per_worker)} workers would keep up, each with a "
        f"core; {describe_machine().cores} cores are here.{shared}"
    )


def _row(stage: str, rate: float, workers: int | None = None, training: float | None = None) -> dict[str, Any]:
    return dict(zip(_COLUMNS, (stage, workers, rate, rate / max(workers or 1, 1), training), strict=True))


def _single_process(data: ImageData, rounds: int, warmup: int) -> dict[str, float]:
    """Time reading and augmentation sample by sample, in the order of training, on one core as a worker does."""
    loader = _training_loader(data, 0)
    keys = cycle(chain.from_iterable(loader.batch_sampler))
    count = rounds * data.batch_size

    def rate() -> float:
        for key in islice(keys, max(warmup * data.batch_size, 1)):  # the first sample may set things up
            loader.dataset[key]
        chosen = list(islice(keys, count))
        return count / duration(lambda: [loader.dataset[key] for key in chosen])

    files: Any = data.train_set
    while hasattr(files, "dataset"):
        files = files.dataset
    transform, threads = getattr(files, "transform", None), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if transform is None:
            return {"samples in memory": rate()}
        files.transform = lambda *sample: sample
        decoding = rate()
        files.transform = transform
        return {"decoding": decoding, "decoding + augmentation": rate()}
    finally:
        torch.set_num_threads(threads)


def _loader(data: ImageData, workers: int, rounds: int, warmup: int) -> tuple[Any, float]:
    """Give a batch, and the images per second of the whole loader once all workers are busy."""
    loader = _training_loader(data, workers)
    batches = chain.from_iterable(iter(lambda: loader, None))  # pass after pass
    batch = next(batches)
    for _ in range(warmup + workers):
        next(batches)
    images: list[int] = []
    seconds = duration(lambda: images.extend(len(each[0]) for each in islice(batches, max(rounds, 2 * workers))))
    return batch, sum(images) / seconds


def _training_loader(data: ImageData, workers: int) -> Any:
    data = copy(data)
    data.num_workers = workers
    return data.train_dataloader()
