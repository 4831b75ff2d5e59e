"""Classification from WebDataset shards: tar files that are read from front to back, for data too large for folders."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset
from timm.data.dataset import IterableImageDataset
from torch.utils.data import DataLoader, IterableDataset
from torchvision.transforms import v2

from gpvit.data.classification import ClassificationData, _ready
from gpvit.data.images import read_image
from gpvit.data.preprocessing import (
    IMAGENET,
    IMAGENET_AUGMENTATION,
    Augmentation,
    Preprocessing,
    Transform,
    training_transform,
)

_INFO = "_info.json"


class Shards(ClassificationData):
    """Shards in one local folder, read by timm: each sample an image (jpg, jpeg, png, webp) and its label (cls).

    timm finds the shards of a split in the folder's `_info.json`; `class_names` is our one addition to it:

        {"class_names": ["cat", "dog"],
         "splits": {"train": {"name": "train", "num_samples": 1000,
                              "filenames": ["train-0.tar", "train-1.tar"], "shard_lengths": [500, 500]},
                    "validation": {...}}}

    Without that file, write a split as a pattern and its number of samples, `train-{0..1}.tar|1000`, and give
    `class_names`. timm passes over a sample that it cannot read, and logs a warning.

    Args:
        root: The folder that holds the shards.
        class_names: The classes in the order of their labels, or how many there are (their names are then the
            labels); None reads them from `_info.json`.
        train_split: Name of a split in `_info.json`, or a pattern.
        val_split: The same for validation.
        preprocessing: Input size, normalisation and evaluation crop.
        augmentation: What training varies.
        batch_size: Images per batch and process.
        num_workers: Loader processes, at most one for each shard of this process; 0 loads in the training process.
        seed: Start of the order of the shards, the same on all processes; each epoch has another order.

    Raises:
        FileNotFoundError: `root` or a shard is missing; shards are looked for by `setup`.
        ValueError: Classes or a split are not known, or there are fewer shards than processes.
    """

    def __init__(
        self,
        root: str | Path,
        class_names: Sequence[str] | int | None = None,
        train_split: str = "train",
        val_split: str = "validation",
        preprocessing: Preprocessing = IMAGENET,
        augmentation: Augmentation = IMAGENET_AUGMENTATION,
        batch_size: int = 128,
        num_workers: int = 4,
        seed: int = 42,
    ) -> None:
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; give the local folder that holds the shards")
        super().__init__(_class_names(self.root, class_names), preprocessing, batch_size, num_workers)
        self.train_split = train_split
        self.val_split = val_split
        self.augmentation = augmentation
        self.seed = seed

    def setup(self, stage: str | None = None) -> None:
        """Find the shards: of both splits to fit, of the validation split alone for any other stage."""
        if self.val_set is None:
            self.val_set = self._open(self.val_split, self.preprocessing.transform(), is_training=False)
        if stage in ("fit", None) and self.train_set is None:
            transform = training_transform(self.preprocessing, self.augmentation)
            self.train_set = self._open(self.train_split, transform, is_training=True)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches; shards and samples come in another order in every epoch."""
        loader = self._stream(_ready(self.train_set, "fit"), _EpochLoader)
        loader.epoch = self.trainer.current_epoch if self.trainer else 0  # a resumed run goes on where it was
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once."""
        return self._stream(_Unsized(_ready(self.val_set, "validate")), DataLoader)
