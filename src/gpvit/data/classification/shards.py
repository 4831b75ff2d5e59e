"""Classification from WebDataset shards: a few large tar files in place of millions of small ones."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import pil_to_tensor

from gpvit.data.classification.module import ClassificationData
from gpvit.data.classification.remote_folder import RemoteFolder, is_remote
from gpvit.data.classification.shard_index import ShardSamples, index_shard
from gpvit.data.samplers import EpochOrder, seeded_generator
from gpvit.data.transforms.classification import Transform, training_transform
from gpvit.errors import UserError
from gpvit.io import located, read_json

INFO = "_info.json"


class Shards(ClassificationData):
    """Shards in one folder: each sample an image (jpg, jpeg, png, webp, ...) and its label (cls).

    `gpvit shards` writes such a folder. The shards of a split are named by its `_info.json`, the one that timm reads;
    `class_names` is our one addition to it::

        {"class_names": ["cat", "dog"],
         "splits": {"train": {"name": "train", "num_samples": 1000,
                              "filenames": ["train-0.tar", "train-1.tar"], "shard_lengths": [500, 500]},
                    "validation": {...}}}

    Without that file, write a split as a pattern, `train-{0..1}.tar`, perhaps with its number of samples after a bar,
    `train-{0..1}.tar|1000`, and give `class_names`.

    The first run reads the headers of all shards, and leaves an index beside each if it may write there. In training
    every sample comes once an epoch, in an order that goes through a few shards at a time (`ShardOrder`).

    The folder may be one that fsspec knows, as `s3://bucket/shards`: whole shards are then fetched into a folder of
    `$GPVIT_CACHE`, ahead of their use in training, and the order is that of local ones.

    Args:
        root: The folder that holds the shards, or its address.
        class_names: The classes in the order of their labels, or how many there are (their names are then the
            labels); None reads them from `_info.json`.
        train_split: Name of a split in `_info.json`, or a pattern.
        val_split: The same for validation.
        window: Shards whose samples are mixed in training.
        cache_gb: How much of a remote folder is kept on the disk, in 10^9 bytes; twice `window` shards should fit.
        **options: `preprocessing`, `augmentation`, `batch_size`, `num_workers` and `max_damaged` of
            `ClassificationData`.

    Raises:
        FileNotFoundError: `root` or a shard is missing; shards are looked for by `setup`.
        UserError: Classes or a split are not known, a shard is damaged, or a label is that of no class.
    """

    def __init__(
        self,
        root: str | Path,
        class_names: Sequence[str] | int | None = None,
        train_split: str = "train",
        val_split: str = "validation",
        window: int = 16,
        cache_gb: float = 50.0,
        **options: Any,
    ) -> None:
        self.remote = RemoteFolder(str(root), cache_gb) if is_remote(root) else None
        self.root = self.remote.folder if self.remote else located(root).resolve()
        if self.remote:
            self.remote.refresh(self.root / INFO)
        elif not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder; give the folder that holds the shards")
        if window < 1:
            raise UserError(f"window {window}: give at least 1 shard")
        super().__init__(_class_names(self.root, class_names), **options)
        self.train_split = train_split
        self.val_split = val_split
        self.window = window

    def prepare_data(self) -> None:
        """Index the shards of both splits, once for all processes."""
        for split in (self.train_split, self.val_split):
            with suppress(UserError):  # told by `setup`, of the splits that are used
                for shard in _listed(self.root, split):
                    if self.remote or shard.is_file():
                        index_shard(shard, self.remote)

    def training_samples(self) -> ShardSamples:
        """Find the samples of the training split, and check their labels."""
        return self._samples(self.train_split, training_transform(self.preprocessing, self.augmentation))

    def validation_samples(self) -> ShardSamples:
        """Find the samples of the validation split, and check their labels."""
        return self._samples(self.val_split, self.preprocessing.transform())

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches, a few shards at a time, in another order in every epoch."""
        samples: ShardSamples = self._ready(self.train_set).dataset
        order = ShardOrder(samples.lengths, self.window, self.process[1], self.batch_size)
        loader = self.train_loader(self.train_set, order)
        if self.remote:
            batches: Any = loader.batch_sampler
            batches.ahead = samples.expect
            batches.ahead_by = sum(samples.lengths[: self.window]) // (self.process[1] * self.batch_size)
        return loader

    def _samples(self, split: str, transform: Transform) -> ShardSamples:
        samples = _open(self.root, split, transform, self.remote)
        for index in ((samples.labels < 0) | (samples.labels >= self.num_classes)).nonzero()[0]:
            raise UserError(
                f"{samples.name(int(index))}: label {samples.labels[index]} lies outside the {self.num_classes} "
                "classes; correct class_names"
            )
        return samples


class ShardOrder(EpochOrder):
    """Shards in random order, and random samples of `window` of them at a time; every sample comes once.

    It depends on seed and epoch alone. Several processes read different shards, so that each machine keeps only its own
    in its file cache; a shard where the parts of two processes meet is read by both. More shards mix better, fewer are
    read more locally.
    """

    def __init__(self, lengths: Sequence[int], window: int = 16, world_size: int = 1, batch_size: int = 1) -> None:
        super().__init__(sum(lengths))
        self.samples = torch.arange(sum(lengths)).split(list(lengths))  # of each shard
        self.window = window
        self.world_size = world_size
        self.batch_size = batch_size

    def indices(self, seed: int, epoch: int) -> torch.Tensor:
        """Give the order of one epoch, `(N,)`, int64."""
        generator = seeded_generator(seed, epoch)
        parts = []
        for shards in torch.randperm(len(self.samples), generator=generator).split(self.window):
            mixed = torch.cat([self.samples[shard] for shard in shards])
            parts.append(mixed[torch.randperm(len(mixed), generator=generator)])
        order = torch.cat(parts)
        steps = len(order) // (self.world_size * self.batch_size)
        # of the first, full steps every process has a stretch; step k takes the k-th batch of each
        stretches = order[: steps * self.world_size * self.batch_size].view(self.world_size, steps, self.batch_size)
        return torch.cat([stretches.transpose(0, 1).flatten(), order[stretches.numel() :]])


def shard_samples(root: str | Path) -> list[ShardSamples]:
    """Open the samples of all splits of a folder, as tensors `(3, H, W)`, in the order of its `_info.json`."""
    root = located(root).resolve()
    return [_open(root, split, pil_to_tensor) for split in _info(root).get("splits", ())]


def _open(root: Path, split: str, transform: Transform, remote: RemoteFolder | None = None) -> ShardSamples:
    """Open the shards of a split, and check that they hold as many samples as is said of them."""
    listed = _listed(root, split)
    if not remote and (missing := [shard.name for shard in listed if not shard.is_file()]):
        raise FileNotFoundError(f"{root}: {len(missing)} of {len(listed)} shards are missing: {missing[:5]}")
    samples = ShardSamples(list(listed), transform, remote)
    for (shard, said), found in zip(listed.items(), samples.lengths, strict=True):
        if said not in (None, found):
            raise UserError(f"{shard} holds {found} samples, and {INFO} says {said}; fetch or write it again")
    if (total := split.partition("|")[2]) and int(total) != len(samples):
        raise UserError(f"{root}: the shards of {split!r} hold {len(samples)} samples, not {total}; correct the number")
    return samples


def _listed(root: Path, split: str) -> dict[Path, int | None]:
    """List the shards of a split, each with how many samples it is said to hold; None if it is not said."""
    if ".tar" in split:
        pattern, bar, total = split.partition("|")
        names = _expand(pattern)
        if not names or "{" in names[0]:
            raise UserError(f"split {split!r} names no shard; write ranges upwards, as 'train-{{000..146}}.tar'")
        if bar and not total.isdecimal():
            raise UserError(f"split {split!r}: after the bar comes the number of samples, as 'train-{{0..9}}.tar|1000'")
        return dict.fromkeys(root / name for name in names)
    info = _info(root)
    try:
        entry = info["splits"][split]
        shards = {root / name: said for name, said in zip(entry["filenames"], entry["shard_lengths"], strict=True)}
        if not shards:
            raise ValueError("no filenames")
        return shards
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{root}: split {split!r} cannot be read ({error!r}); name a split of {INFO} that gives filenames and as "
            "many shard_lengths, or write a pattern like 'train-{0..9}.tar|1000'"
        ) from error


def _expand(pattern: str) -> list[str]:
    """Write out the ranges of a pattern: `a-{08..10}.tar` gives `a-08.tar`, `a-09.tar`, `a-10.tar`."""
    if (found := re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*?)", pattern)) is None:
        return [pattern]
    start, first, last, end = found.groups()
    numbers = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return [f"{before}{number}{end}" for before in _expand(start) for number in numbers]


def _info(root: Path) -> dict[str, Any]:
    path = root / INFO
    info = read_json(path) if path.is_file() else {}
    if not isinstance(info, dict) or not isinstance(info.get("splits", {}), dict):
        raise UserError(f"{path} holds {info!r:.100}; it is an object with 'splits', another one, by their names")
    return info


def _class_names(root: Path, class_names: Sequence[str] | int | None) -> Sequence[str]:
    if isinstance(class_names, int):
        return [str(label) for label in range(class_names)]
    if class_names:
        return class_names
    names = _info(root).get("class_names")
    if isinstance(names, list) and all(isinstance(name, str) for name in names) and len({*names}) == len(names) > 1:
        return names
    raise UserError(f"{root / INFO} does not give class_names, two or more; add them, or give them or their number")
