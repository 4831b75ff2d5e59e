"""What every data module shares, whatever the task: names, preprocessing and loaders."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from gpvit.data.loader import Loader, Share, TrainingLoader
from gpvit.data.samplers import EpochBatches, Order, Seeded, Shuffled, process
from gpvit.errors import UserError


class ImageData(LightningDataModule):
    """Batches of images for training and for validation; testing reads the validation images.

    A subclass fills `train_set` and `val_set` in `setup`, and may make whole training batches by `train_collate`.
    Several processes share the images by themselves: a Trainer needs `use_distributed_sampler=False`.

    Args:
        class_names: The classes in the order of their labels.
        preprocessing: What evaluation does to an image, and the size that training keeps to.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the training process.

    Attributes:
        class_names: As given; known before `setup`.
        preprocessing: As given; known before `setup`.
        num_classes: How many classes there are.
    """

    fewest_classes = 2
    preprocessing: Any
    train_set: Dataset[Any] | None = None
    val_set: Dataset[Any] | None = None
    train_collate: Callable[[list[Any]], Any] | None = None

    def __init__(self, class_names: Sequence[str], preprocessing: Any, batch_size: int, num_workers: int) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise UserError(
                f"batch_size {batch_size} and num_workers {num_workers}: give at least 1 image and 0 workers"
            )
        if len(class_names) < self.fewest_classes or len(set(class_names)) != len(class_names):
            raise UserError(f"class names {list(class_names)}: give {self.fewest_classes} or more, each once")
        self.class_names = tuple(class_names)
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self.num_workers = num_workers

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def train_dataloader(self) -> TrainingLoader:
        """Load training batches in random order; a last batch that is not full is left out."""
        return self.train_loader(self._ready(self.train_set), collate_fn=self.train_collate)

    def train_loader(
        self, dataset: Dataset[Any], order: Order | None = None, collate_fn: Callable[[list[Any]], Any] | None = None
    ) -> TrainingLoader:
        """Make a loader of training batches for this process, which can begin anywhere.

        Args:
            dataset: What to load from, by index; a method `name(index)`, if any, names samples in messages.
            order: Of the samples; None shuffles them.
            collate_fn: Makes a batch of a list of samples.
        """
        order = Shuffled(len(dataset)) if order is None else order  # type: ignore[arg-type]
        samples = Seeded(dataset, order.seed, collate_fn)
        batches = EpochBatches(order, self.batch_size)
        return TrainingLoader(samples, batches, self.num_workers, **_speed(self.num_workers))

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once, in a fixed order; of several processes, each loads its share."""
        return self._loader(self._ready(self.val_set))

    def test_dataloader(self) -> DataLoader[Any]:
        """Load what `val_dataloader` loads: there is no third split."""
        return self.val_dataloader()

    def _ready(self, dataset: Any) -> Any:
        if dataset is None:
            raise RuntimeError("the data are not set up: call setup('fit') first, or let a Trainer do it")
        return dataset

    def _loader(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int | None = None,
        **options: Any,
    ) -> Loader:
        rank, world_size = process()
        if world_size > 1:
            options["sampler"] = Share(dataset, world_size, rank)
        return Loader(
            dataset,
            batch_size=self.batch_size if batch_size is None else batch_size,
            num_workers=self.num_workers,
            generator=torch.Generator(),  # else each pass would draw from the random state that training draws from
            **_speed(self.num_workers),
            **options,
        )


def _speed(workers: int) -> dict[str, Any]:
    return {"persistent_workers": workers > 0, "pin_memory": torch.cuda.is_available()}
