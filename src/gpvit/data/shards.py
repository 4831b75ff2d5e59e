"""Classification from WebDataset shards: tar files that are read from front to back, for data too large for folders."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset
from torch.utils.data import DataLoader, IterableDataset
from torchvision.transforms import v2

from gpvit.data.classification import ClassificationData
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
        samples = self._ready(self.train_set)
        loader = self._loader(samples, loader_class=_EpochLoader, num_workers=samples.fit_workers(self.num_workers))
        loader.epoch = self.trainer.current_epoch if self.trainer else 0  # a resumed run goes on where it was
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        """Load every validation image once."""
        samples = self._ready(self.val_set)
        return self._loader(samples, num_workers=samples.fit_workers(self.num_workers))

    def _open(self, split: str, transform: Transform, *, is_training: bool) -> "_Samples":
        try:
            dataset = create_dataset(
                "wds/",
                root=str(self.root),
                split=split,
                is_training=is_training,
                batch_size=self.batch_size,
                seed=self.seed,
                input_img_mode="",  # read_image converts, as it does for folders
                input_key="jpg;jpeg;png;webp",
                transform=v2.Compose([read_image, transform]),
            )
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                f"{self.root}: split {split!r} cannot be read ({error}); name a split of {_INFO} that gives name, "
                "num_samples, filenames and shard_lengths, or write a pattern like 'train-{0..9}.tar|1000'"
            ) from error
        return (_TrainingSamples if is_training else _Samples)(dataset, self.root, self.num_classes)


class _Samples(IterableDataset[tuple[torch.Tensor, int]]):
    """timm's stream of samples, with what timm lets pass refused.

    It has no length: several workers end with several batches that are not full, so a Trainer that counted would
    stop early and leave images out.
    """

    def __init__(self, dataset: Any, root: Path, num_classes: int) -> None:
        self.dataset = dataset
        self.root = root
        self.num_classes = num_classes
        self.reader = dataset.reader
        self.files = self.reader.split_info.filenames
        if missing := [name for name in self.files if not (root / name).is_file()]:
            raise FileNotFoundError(f"{root}: {len(missing)} of {len(self.files)} shards are missing: {missing[:5]}")
        if len(self.files) < self.reader.dist_num_replicas:
            raise ValueError(
                f"{root}: {len(self.files)} shards for {self.reader.dist_num_replicas} processes; "
                "each process needs one of its own: write more, smaller shards or use fewer devices"
            )

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        label = None
        for image, label in self.dataset:
            if not 0 <= label < self.num_classes:
                raise ValueError(
                    f"{self.root}: label {label} lies outside the {self.num_classes} classes; correct class_names"
                )
            yield image, label
        if label is None:
            raise ValueError(f"{self.root}: no sample could be read; each needs KEY.jpg (jpeg, png, webp) and KEY.cls")

    def fit_workers(self, wanted: int) -> int:
        """Lower the number of workers until each has a shard, and tell timm, which counts samples by it."""
        workers = min(wanted, len(self.files) // self.reader.dist_num_replicas)
        self.dataset.set_loader_cfg(num_workers=workers)
        return workers


class _TrainingSamples(_Samples):
    """With a length: in training timm gives every worker equally many full batches."""

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        self.dataset.set_epoch(epoch)


class _EpochLoader(DataLoader[Any]):
    """Tells the stream which epoch begins; Trainers do so to samplers, which a stream has not."""

    epoch = 0

    def __iter__(self) -> Any:
        self.dataset.set_epoch(self.epoch)  # type: ignore[attr-defined]
        self.epoch += 1
        return super().__iter__()


def _class_names(root: Path, class_names: Sequence[str] | int | None) -> Sequence[str]:
    if isinstance(class_names, int):
        return [str(label) for label in range(class_names)]
    if class_names is not None:
        return class_names
    info = root / _INFO
    try:
        names = json.loads(info.read_text(encoding="utf-8")).get("class_names") if info.is_file() else None
    except json.JSONDecodeError as error:
        raise ValueError(f"{info} is not valid JSON ({error}); correct it") from error
    if names is None:
        raise ValueError(
            f"{root}: {_INFO} does not give class_names; add them there, or give class_names or their number"
        )
    return names
