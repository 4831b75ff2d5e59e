"""Classification from WebDataset shards: a few large tar files in place of millions of small ones."""

import json
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from gpvit.data.classification.module import ClassificationData
from gpvit.data.classification.shard_index import ShardIndex
from gpvit.data.classification.shard_sampler import ShardOrder
from gpvit.data.images import ImageError, decode_image
from gpvit.data.loader import TrainingLoader
from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.data.transforms.classification import (
    IMAGENET,
    IMAGENET_AUGMENTATION,
    Augmentation,
    Preprocessing,
    Transform,
    training_transform,
)
from gpvit.errors import UserError

INFO = "_info.json"


class Shards(ClassificationData):
    """Shards in one local folder: each sample an image (jpg, jpeg, png, webp, ...) and its label (cls).

    `gpvit shards` writes such a folder. The shards of a split are named by its `_info.json`, the one that timm reads;
    `class_names` is our one addition to it:

        {"class_names": ["cat", "dog"],
         "splits": {"train": {"name": "train", "num_samples": 1000,
                              "filenames": ["train-0.tar", "train-1.tar"], "shard_lengths": [500, 500]},
                    "validation": {...}}}

    Without that file, write a split as a pattern, `train-{0..1}.tar`, perhaps with its number of samples after a bar,
    `train-{0..1}.tar|1000`, and give `class_names`.

    The first run reads the headers of all shards, and leaves an index beside each if it may write there. In training
    every sample comes once an epoch, in an order that goes through a few shards at a time (`ShardOrder`).

    Args:
        root: The folder that holds the shards.
        class_names: The classes in the order of their labels, or how many there are (their names are then the
            labels); None reads them from `_info.json`.
        train_split: Name of a split in `_info.json`, or a pattern.
        val_split: The same for validation.
        preprocessing: Input size, normalisation and evaluation crop.
        augmentation: What training varies.
        batch_size: Images per batch and process.
        num_workers: Loader processes; 0 loads in the training process.
        seed: What the order of training is drawn from; None takes the run's.
        window: Shards whose samples are mixed in training.
        max_damaged: How often training may pass over an image that cannot be read, in all processes of a loader
            together; each is named in a warning. Validation passes over none.

    Raises:
        FileNotFoundError: `root` or a shard is missing; shards are looked for by `setup`.
        ValueError: Classes or a split are not known, a shard is damaged, or a label is that of no class.
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
        seed: int | None = None,
        window: int = 16,
        max_damaged: int = 10,
    ) -> None:
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; give the local folder that holds the shards")
        if window < 1 or max_damaged < 0:
            raise UserError(f"window {window} and max_damaged {max_damaged}: give at least 1 and 0")
        super().__init__(_class_names(self.root, class_names), preprocessing, batch_size, num_workers)
        self.train_split = train_split
        self.val_split = val_split
        self.augmentation = augmentation
        self.seed = seed
        self.window = window
        self.max_damaged = max_damaged

    def setup(self, stage: str | None = None) -> None:
        """Find the samples: of both splits to fit, of the validation split alone for any other stage."""
        if self.val_set is None:
            self.val_set = self._open(self.val_split, self.preprocessing.transform())
        if stage in ("fit", None) and self.train_set is None:
            samples = self._open(self.train_split, training_transform(self.preprocessing, self.augmentation))
            self.train_set = SkipCorrupt(samples, self.max_damaged)

    def train_dataloader(self) -> TrainingLoader:
        """Load training batches, a few shards at a time, in another order in every epoch."""
        dataset = self._ready(self.train_set)
        nodes, processes = (self.trainer.num_nodes, self.trainer.world_size) if self.trainer else (1, 1)
        order = ShardOrder(
            dataset.dataset.index.lengths, self.window, self.seed, nodes, self.batch_size * processes // nodes
        )
        return self.train_loader(dataset, order=order)

    def _open(self, split: str, transform: Transform) -> "ShardSamples":
        samples = ShardSamples(_index(self.root, split), transform)
        labels = samples.index.labels
        if len(wrong := ((labels < 0) | (labels >= self.num_classes)).nonzero()[0]):
            raise UserError(
                f"{samples.name(wrong[0])}: label {labels[wrong[0]]} lies outside the {self.num_classes} classes; "
                "correct class_names"
            )
        return samples


class ShardSamples(Dataset[tuple[torch.Tensor, int]]):
    """Images and labels of shards, each sample to be read at once.

    Args:
        index: Where the samples lie.
        transform: What becomes of an image.
    """

    def __init__(self, index: ShardIndex, transform: Transform) -> None:
        self.index = index
        self.transform = transform

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.image(index)), int(self.index.labels[index])

    def image(self, index: int) -> Image.Image:
        """Read the image of a sample as 8-bit RGB.

        Raises:
            ImageError: It is damaged; shard and file are named.
        """
        data = self.index.read(index)
        try:
            return decode_image(data, "its content")
        except ImageError as error:  # only now look up the name, which takes longer than to read the sample
            raise ImageError(f"{self.name(index)}: {error}") from error

    def name(self, index: int) -> str:
        """Say what messages call a sample: its shard and its file there."""
        return self.index.name(index)


def shard_samples(root: str | Path) -> list[ShardSamples]:
    """Open the samples of all splits of a folder of shards, in the order of its `_info.json`, as tensors `(3, H, W)`.

    Raises:
        FileNotFoundError: A shard is missing.
        ValueError: `_info.json` or a shard cannot be used.
    """
    root = Path(root).expanduser().resolve()
    return [ShardSamples(_index(root, split), pil_to_tensor) for split in _info(root).get("splits", ())]


def _index(root: Path, split: str) -> ShardIndex:
    """Index the shards of a split, and check that they hold as many samples as is said of them."""
    names, lengths, total = _from_pattern(split) if ".tar" in split else _from_info(root, split)
    if missing := [name for name in names if not (root / name).is_file()]:
        raise FileNotFoundError(f"{root}: {len(missing)} of {len(names)} shards are missing: {missing[:5]}")
    index = ShardIndex([root / name for name in names])
    if len(index) == 0:
        raise UserError(f"{root}: the shards of split {split!r} hold no sample; write them again")
    for name, found, said in zip(names, index.lengths, lengths or index.lengths, strict=True):
        if found != said:
            raise UserError(f"{root / name} holds {found} samples, and {INFO} says {said}; fetch or write it again")
    if total not in (None, len(index)):
        raise UserError(f"{root}: the shards of {split!r} hold {len(index)} samples, not {total}; correct the number")
    return index


_Listing = tuple[list[str], list[int] | None, int | None]
"""Names of shards, how many samples each is said to hold, and how many there are in all; None if it is not said."""


def _from_info(root: Path, split: str) -> _Listing:
    try:
        entry = _info(root)["splits"][split]
        names, lengths = entry["filenames"], entry["shard_lengths"]
        if not names or len(names) != len(lengths):
            raise KeyError(f"{len(names)} filenames and {len(lengths)} shard_lengths")
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{root}: split {split!r} cannot be read ({error}); name a split of {INFO} that gives filenames and "
            "shard_lengths, or write a pattern like 'train-{0..9}.tar|1000'"
        ) from error
    return names, lengths, None


def _from_pattern(pattern: str) -> _Listing:
    names, _, total = pattern.partition("|")
    if total and not total.isdecimal():
        raise UserError(f"split {pattern!r}: after the bar comes the number of samples, as 'train-{{0..9}}.tar|1000'")
    # a name, and by turns first and last number of a range and what follows it
    name, *rest = re.split(r"\{(\d+)\.\.(\d+)\}", names)
    ranges = [
        [f"{number:0{len(first)}}{text}" for number in range(int(first), int(last) + 1)]
        for first, last, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    ]
    shards = ["".join([name, *numbers]) for numbers in product(*ranges)]
    if not shards or "{" in shards[0]:
        raise UserError(f"split {pattern!r} names no shard; write ranges upwards, as 'train-{{000..146}}.tar'")
    return shards, None, int(total) if total else None


def _info(root: Path) -> dict[str, Any]:
    path = root / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); correct it") from error
    if not isinstance(info, dict):
        raise UserError(f"{path} holds no mapping; it gives class_names and splits")
    return info


def _class_names(root: Path, class_names: Sequence[str] | int | None) -> Sequence[str]:
    if isinstance(class_names, int):
        return [str(label) for label in range(class_names)]
    names = _info(root).get("class_names") if class_names is None else class_names
    if names is None:
        raise UserError(
            f"{root}: {INFO} does not give class_names; add them there, or give class_names or their number"
        )
    return names
