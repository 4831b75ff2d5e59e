"""Whether the data keep up with the model: images a second of every stage of loading, beside a training step's."""

import csv
import io
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table
from torchvision.datasets import ImageFolder as FolderDataset

from gpvit.data.classification.shards import ShardSamples
from gpvit.data.module import ImageData
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.errors import UserError
from gpvit.profile.machine import Machine, describe_machine
from gpvit.profile.training_step import TrainingStep


@dataclass(frozen=True)
class Stage:
    """One stage of the way from files to weights, timed alone.

    Args:
        name: What is done.
        images_per_second: How fast.
        workers: Loader processes; None where there is no loader.
        training_images_per_second: What training with this loader can reach at the most; None if no step was timed.
    """

    name: str
    images_per_second: float
    workers: int | None = None
    training_images_per_second: float | None = None

    @property
    def per_core(self) -> float:
        """Images per second and process that works on them."""
        return self.images_per_second / max(self.workers or 1, 1)


@dataclass(frozen=True)
class LoadingReport:
    """How fast images are loaded and learned from.

    Args:
        machine: Where it was measured.
        batch_size: Images per batch.
        device: Where the training step was computed.
        stages: What was timed on the way to the model, each stage with those before it.
        step: The training step; None without a model.
    """

    machine: Machine
    batch_size: int
    device: str
    stages: tuple[Stage, ...]
    step: Stage | None

    @property
    def loaders(self) -> list[Stage]:
        """The whole loader with each number of workers."""
        return [stage for stage in self.stages if stage.workers is not None]

    def verdict(self) -> str:
        """Say in a sentence or two which of loader and model holds the other up."""
        if self.step is None:
            return "Give a recipe in place of the data to set this beside the training step of its model."
        step = self.step.images_per_second
        fastest = max(self.loaders, key=lambda stage: stage.images_per_second)
        enough = [stage for stage in self.loaders if stage.workers and stage.images_per_second >= step]
        shared = " Each was timed alone; here they share the cores." if self.device == "cpu" else ""
        if enough:
            loader = min(enough, key=lambda stage: stage.workers or 0)
            return (
                f"The model is the bottleneck: with num_workers {loader.workers} the loader gives "
                f"{loader.images_per_second:.4g} images/s, and a training step takes {step:.4g}.{shared}"
            )
        per_worker = max(stage.per_core for stage in self.loaders)
        return (
            f"The loader is the bottleneck: with num_workers {fastest.workers} it gives "
            f"{fastest.images_per_second:.4g} images/s, and a training step could take {step:.4g}. About "
            f"{math.ceil(step / per_worker)} workers would keep up, each with a core; "
            f"{self.machine.cores} cores are here.{shared}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat record for each stage; None stands for no value."""
        return [
            {
                "stage": stage.name,
                "workers": stage.workers,
                "images_per_second": stage.images_per_second,
                "images_per_second_per_core": None if stage is self.step else stage.per_core,
                "training_images_per_second": stage.training_images_per_second,
                "batch_size": self.batch_size,
                "device": self.device,
            }
            for stage in (*self.stages, *([self.step] if self.step else []))
        ]

    def __rich__(self) -> Group:
        """Return what `rich` prints: the machine, the table and the verdict."""
        table = Table("stage", title=f"batch {self.batch_size}, {self.device}", title_justify="left")
        for header in ("workers", "images/s", "per core", "training at most"):
            table.add_column(header, justify="right")
        for row in self.rows():
            numbers = (f"{row[name]:.4g}" if row[name] is not None else "" for name in list(row)[2:5])
            table.add_row(row["stage"], "" if row["workers"] is None else str(row["workers"]), *numbers)
        return Group(str(self.machine), table, self.verdict())

    def write(self, directory: str | Path) -> Path:
        """Write `loading.csv`, replacing that of an earlier run, and return its path.

        Args:
            directory: Folder to write into; made if absent.
        """
        path = Path(directory) / "loading.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [row | asdict(self.machine) for row in self.rows()]
        text = io.StringIO()
        writer = csv.DictWriter(text, records[0])
        writer.writeheader()
        writer.writerows(records)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        unfinished.write_text(text.getvalue(), newline="")
        os.replace(unfinished, path)
        return path


def measure_loading(
    data: ImageData,
    num_workers: Sequence[int] = (0, 1, 2),
    rounds: int = 10,
    warmup: int = 2,
    model: TrainingStep | None = None,
    progress: bool = False,
) -> LoadingReport:
    """Time decoding alone, decoding with augmentation, the whole loader, and the training step of a model.

    Args:
        data: What is loaded; its own number of workers plays no part.
        num_workers: Loader processes to time the loader with; 0 loads in this process.
        rounds: Batches that each stage is timed over; of a loader at least two for each worker.
        warmup: Batches beforehand, not timed; of a loader one for each worker in addition.
        model: What trains on the data; None times the data alone.
        progress: Show a progress bar, on stderr.

    Raises:
        ValueError: A number is out of range.
    """
    if rounds < 1 or warmup < 0 or not num_workers or min(num_workers) < 0:
        raise UserError(
            f"rounds {rounds}, warmup {warmup} and numbers of workers {list(num_workers)}: give at least 1 round, 0 "
            "batches of warm-up, and numbers of 0 or more"
        )
    data.setup("fit")
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        bar_task = bar.add_task("", total=1 + len(num_workers) + (model is not None))

        def begin(what: str, done: int = 1) -> None:
            bar.update(bar_task, description=what, advance=done)

        begin("decoding and augmentation", 0)
        stages = _single_process(data, rounds, warmup)
        rates = {}
        for workers in num_workers:
            begin(f"loader, {workers} workers")
            batch, rates[workers] = _loader(data, workers, rounds, warmup)
        step = None
        if model is not None:
            begin("training step")
            step = Stage("training step", model.images_per_second(data, batch, rounds, warmup))
    stages += [
        Stage("whole loader", rate, workers, None if step is None else _together(rate, workers, step.images_per_second))
        for workers, rate in rates.items()
    ]
    device = "cpu" if model is None else model.device
    return LoadingReport(describe_machine(), data.batch_size, device, tuple(stages), step)


def _together(loader: float, workers: int, step: float) -> float:
    """Bound the images per second of training: loading without workers takes turns with the model."""
    return min(loader, step) if workers else 1 / (1 / loader + 1 / step)


def _single_process(data: ImageData, rounds: int, warmup: int) -> list[Stage]:
    """Time reading and augmentation sample by sample, in the order of training, on one core as a worker does."""
    loader = _training_loader(data, 0)
    keys = cycle(chain.from_iterable(loader.batch_sampler))
    reader = _reader(data.train_set)
    ways: dict[str, Callable[[tuple[int, int]], Any]] = {"samples in memory": loader.dataset.__getitem__}
    if reader is not None:
        ways = {"decoding": lambda key: reader(key[1]), "decoding + augmentation": loader.dataset.__getitem__}
    with _one_thread():
        return [Stage(name, _rate(way, keys, data.batch_size, rounds, warmup)) for name, way in ways.items()]


def _rate(way: Callable[[Any], Any], keys: Iterator[Any], batch_size: int, rounds: int, warmup: int) -> float:
    for key in islice(keys, max(warmup * batch_size, 1)):  # the first sample may set things up
        way(key)
    count = rounds * batch_size
    chosen = list(islice(keys, count))
    start = time.perf_counter()
    for key in chosen:
        way(key)
    return count / (time.perf_counter() - start)


def _reader(dataset: Any) -> Callable[[int], Any] | None:
    """Find what reads and decodes a sample and does nothing else; None where samples are in memory already."""
    if isinstance(dataset, SkipCorrupt):
        return _reader(dataset.dataset)
    if isinstance(dataset, ShardSamples):
        return dataset.image
    if isinstance(dataset, FolderDataset):
        return lambda index: dataset.loader(dataset.samples[index][0])
    samples = getattr(dataset, "pairs", getattr(dataset, "pictures", None))
    return None if samples is None else samples.__getitem__


def _loader(data: ImageData, workers: int, rounds: int, warmup: int) -> tuple[Any, float]:
    """Give a batch, and the images per second of the whole loader once all workers are busy."""
    batches = _endless(_training_loader(data, workers))
    batch = next(batches)
    for _ in range(warmup + workers):
        next(batches)
    images = 0
    start = time.perf_counter()
    for each in islice(batches, max(rounds, 2 * workers)):
        images += len(each[0])
    rate = images / (time.perf_counter() - start)
    batches.close()  # ends the workers
    return batch, rate


def _training_loader(data: ImageData, workers: int) -> Any:
    own, data.num_workers = data.num_workers, workers
    try:
        return data.train_dataloader()
    finally:
        data.num_workers = own


def _endless(loader: Any) -> Any:
    while True:
        yield from loader


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
