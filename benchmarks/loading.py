"""Whether the data keep up with the model: images a second of every stage of loading, beside a training step's.

    python -m benchmarks.loading RECIPE|FOLDER|digits [--workers 0 1 2] [--device cuda] [--rounds 10] [--warmup 2]

With a recipe the training step of its model is timed, too; with a folder of images or shards, the data alone. Rounds
and warm-up count batches; of a loader at least two and one more for each worker.
"""

import argparse
import math
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gpvit.data import Digits, ImageFolder, Shards
from gpvit.data.module import ImageData
from gpvit.devices import choose_device, describe_machine
from gpvit.profile.measure import Step, duration
from gpvit.train.config import TrainConfig
from gpvit.train.loop import Run
from gpvit.train.processes import launch
from gpvit.train.recipes import read_recipe

Model = Callable[[Any], tuple[Step, int]]
"""Makes of a batch a training step, and says of how many batches it is."""


def open_source(name: str, device: str) -> tuple[Any, Model | None]:
    """Open the data that a name stands for, and the training step of its model if it is a recipe."""
    folder = Path(name).expanduser()
    if name == "digits":
        return Digits(), None
    if folder.is_dir():
        return (Shards if (folder / "_info.json").is_file() else ImageFolder)(folder, batch_size=64), None
    # Weights have no bearing on time, and are perhaps not at hand.
    given = [key for key in ("weights", "backbone_weights") if read_recipe([name]).settings["model"].get(key)]
    task, data, config = read_recipe([name, *(f"--model.{key}=null" for key in given)]).build()
    return data, partial(training_step, task, data, config, device)


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


def decoding(data: ImageData, rounds: int, warmup: int) -> dict[str, float]:
    """Time reading and augmentation sample by sample, in the order of training, on one core as a worker does."""
    loader = training_loader(data, 0)
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
        without = rate()
        files.transform = transform
        return {"decoding": without, "decoding + augmentation": rate()}
    finally:
        torch.set_num_threads(threads)


def loading(data: ImageData, workers: int, rounds: int, warmup: int) -> tuple[Any, float]:
    """Give a batch, and the images per second of the whole loader once all workers are busy."""
    loader = training_loader(data, workers)
    batches = chain.from_iterable(iter(lambda: loader, None))  # pass after pass
    batch = next(batches)
    for _ in range(warmup + workers):
        next(batches)
    images: list[int] = []
    seconds = duration(lambda: images.extend(len(each[0]) for each in islice(batches, max(rounds, 2 * workers))))
    return batch, sum(images) / seconds


def training_loader(data: ImageData, workers: int) -> Any:
    """Give the loader of training with so many workers; the data keep their own number."""
    data = copy(data)
    data.num_workers = workers
    return data.train_dataloader()


def measure(data: ImageData, model: Model | None, workers: Sequence[int], rounds: int, warmup: int) -> dict[str, float]:
    """Time every stage, and return images per second by its name."""
    data.setup("fit")
    rates = decoding(data, rounds, warmup)
    for number in workers:
        batch, rates[f"{number} workers"] = loading(data, number, rounds, warmup)
    if model is not None:
        step, batches = model(batch)
        first, turns = math.ceil(warmup / batches), math.ceil(rounds / batches)
        seconds = median([duration(step) for _ in range(first + turns)][first:])
        rates["training step"] = len(batch[0]) * batches / seconds
    return rates


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the images per second of every stage; the slower of loader and training step sets the pace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    for name, default in (("rounds", 10), ("warmup", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args(arguments)
    data, model = open_source(given.source, str(choose_device(given.device)))
    print(f"{describe_machine()}\nbatch {data.batch_size}, {given.device}")
    rates = measure(data, model, given.workers, given.rounds, given.warmup)
    for name, rate in rates.items():
        print(f"{name:<24}{rate:10.4g} images/s")
    if (step := rates.get("training step")) is not None:
        fastest = max(rates[f"{number} workers"] for number in given.workers)
        print(f"The {'model' if fastest >= step else 'loader'} is the bottleneck.")


if __name__ == "__main__":
    main()
