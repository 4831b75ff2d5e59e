"""The base of all data modules: class names, preprocessing and loaders, whatever the task."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from gpvit.data.samplers import EpochOrder, ResumableBatchSampler, Seeded, seeded_generator
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.workers import outlive_signals, usable_cores
from gpvit.errors import UserError


class ImageData(LightningDataModule):
    """Batches of images for training and for validation; testing reads the validation images.

    A subclass gives `training_samples` and `validation_samples`, and may make whole training batches by
    `train_collate`. Several processes divide the images by themselves, once `distribute` has told them apart;
    Lightning's Trainer needs no such call, but `use_distributed_sampler=False`. Class names, `num_classes` and
    preprocessing are known before `setup`, which fills `val_set` and, for training, `train_set`.
    """

    fewest_classes = 2
    preprocessing: Any
    train_set: Any = None
    val_set: Any = None
    train_collate: Callable[[list[Any]], Any] | None = None

    def __init__(
        self,
        class_names: Sequence[str],
        preprocessing: Any,
        batch_size: int,
        num_workers: int | None = None,
        max_damaged: int = 0,
    ) -> None:
        super().__init__()
        if num_workers is None:
            num_workers = min(4, usable_cores())
        if batch_size < 1 or min(num_workers, max_damaged) < 0:
            given = f"batch_size {batch_size}, num_workers {num_workers} and max_damaged {max_damaged}"
            raise UserError(f"{given}: give at least 1, 0 and 0")
        if len(class_names) < self.fewest_classes or len(set(class_names)) != len(class_names):
            raise UserError(f"class names {list(class_names)}: give {self.fewest_classes} or more, each once")
        self.class_names = tuple(class_names)
        self.num_classes = len(class_names)
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_damaged = max_damaged
        self._process: tuple[int, int, int] | None = None

    def distribute(self, rank: int, world_size: int, seed: int) -> None:
        """Say which process of a run this is, before loaders are made; the seed is alike in all processes."""
        self._process = rank, world_size, seed

    @property
    def process(self) -> tuple[int, int, int]:
        """Rank, world size and seed: as `distribute` was told, else those of Lightning's Trainer, if one runs this."""
        if self._process is not None:
            return self._process
        seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))  # Lightning's `seed_everything` sets it
        return (self.trainer.global_rank, self.trainer.world_size, seed) if self.trainer else (0, 1, seed)

    def training_samples(self) -> Dataset[Any]:
        """Find the samples of training; a method `name(index)`, if any, names them in messages."""
        raise NotImplementedError

    def validation_samples(self) -> Dataset[Any]:
        """Find the samples of validation."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Find the samples: of both parts to fit, of the validation part alone for any other stage."""
        if self.val_set is None:
            self.val_set = self.validation_samples()
        if stage in ("fit", None) and self.train_set is None:
            self.train_set = SkipCorrupt(self.training_samples(), self.max_damaged)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches in random order; a last batch that is not full is left out."""
        return self.train_loader(self._ready(self.train_set), collate_fn=self.train_collate)

    def train_loader(
        self, dataset: Any, order: EpochOrder | None = None, collate_fn: Callable[[list[Any]], Any] | None = None
    ) -> DataLoader[Any]:
        """Make a loader of training batches for this process; its `batch_sampler` says where the next pass begins."""
        rank, world_size, seed = self.process
        samples = Seeded(dataset, seed, collate_fn)
        batches = ResumableBatchSampler(order or EpochOrder(len(dataset)), self.batch_size, seed, rank, world_size)
        generator = seeded_generator(seed, rank)
        return self._dataloader(samples, batch_sampler=batches, collate_fn=samples.collate, generator=generator)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, in a fixed order; of several processes, each loads its part."""
        return self._loader(self._ready(self.val_set))

    def test_dataloader(self) -> DataLoader[Any]:
        """Load what `val_dataloader` loads: there is no third split."""
        return self.val_dataloader()

    def _ready(self, dataset: Any) -> Any:
        if dataset is None:
            raise RuntimeError("the data are not set up: call setup('fit') first, or let a Trainer do it")
        return dataset

    def _loader(self, dataset: Any, *, batch_size: int | None = None, collate_fn: Any = None) -> DataLoader[Any]:
        rank, world_size, _ = self.process
        if len(dataset) < world_size:
            raise UserError(f"fewer validation images than the {world_size} processes, which need one each")
        return self._dataloader(
            dataset,
            batch_size=batch_size or self.batch_size,
            # torch's DistributedSampler gives some images to two processes; scores would count them twice
            sampler=range(rank, len(dataset), world_size),
            collate_fn=collate_fn,
            generator=torch.Generator(),  # else each pass would draw from the random state that training draws from
        )

    def _dataloader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            num_workers=self.num_workers,
            worker_init_fn=outlive_signals(),
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
