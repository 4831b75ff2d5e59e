"""Which samples a training batch holds and how each varies: a pure function of seed, epoch and position.

Neither what was read before nor the number of worker processes plays a part, so a run resumes from two numbers: its
seed and how many batches it has seen.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate

from gpvit.errors import UserError

Key = tuple[int, int]
"""Epoch and index of a sample."""


class EpochOrder:
    """The order of `length` samples: at random, anew in each epoch; a subclass may keep some together."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def indices(self, seed: int, epoch: int) -> torch.Tensor:
        """Give the order of one epoch, for all processes together, `(N,)`, int64.

        Step k of W processes with B samples each takes `[k * W * B : (k + 1) * W * B]`, process r the r-th B of them.
        """
        return torch.randperm(self.length, generator=seeded_generator(seed, epoch))


class ResumableBatchSampler(Sampler[list[Key]]):
    """The training batches of one process, from any position: lists of `(epoch, index)`, in an `EpochOrder`.

    All processes have equally many batches, and all batches are full: what is left at an epoch's end is left out.
    Where there are fewer samples than one full batch for each process, an epoch is one batch of them all, shared out;
    some come twice if that does not go even. A pass that ends counts the epoch, unless `set_epoch` is called.

    `ahead`, if it is set, is told the samples of each batch some `ahead_by` batches before that is given out.
    """

    ahead: Callable[[list[int]], None] | None = None
    ahead_by = 0

    def __init__(self, order: EpochOrder, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if len(order) < 1:
            raise UserError("there is no sample to train on")
        self.order = order
        self.batch_size = min(batch_size, -(-len(order) // world_size))
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._start = 0
        self._drawn: tuple[int, torch.Tensor] | None = None  # epoch and order that were drawn last

    def __len__(self) -> int:
        return max(len(self.order) // (self.batch_size * self.world_size), 1)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = self.epoch, self._start
        self._start = 0
        for step in range(start, len(self)):
            if self.ahead and (coming := step + self.ahead_by) < len(self):
                self.ahead(self.batch(epoch, coming))
            yield [(epoch, index) for index in self.batch(epoch, step)]
        self.epoch = epoch + 1

    @property
    def sampler(self) -> "ResumableBatchSampler":
        """Itself: Lightning's Trainer tells the epoch to the sampler of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass yields."""
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        """Leave the first batches out of the next pass, and of that alone; no sample of them is read."""
        self._start = batches

    def batch(self, epoch: int, step: int) -> list[int]:
        """Tell which samples a batch of this process holds; epochs and steps count from 0."""
        if self._drawn is None or self._drawn[0] != epoch:
            indices = self.order.indices(self.seed, epoch)
            repeats = -(-self.batch_size * self.world_size // len(indices))
            self._drawn = epoch, indices.repeat(repeats)
        first = (step * self.world_size + self.rank) * self.batch_size
        return self._drawn[1][first : first + self.batch_size].tolist()


class Seeded(Dataset[Any]):
    """A dataset, indexed by `(epoch, index)`, whose random changes depend on seed, epoch and index alone.

    Batches are to be collated by its `collate`, so that what varies whole batches in `collate_fn` is seeded too.
    """

    def __init__(self, dataset: Dataset[Any], seed: int, collate_fn: Callable[[list[Any]], Any] | None = None) -> None:
        self.dataset = dataset
        self.seed = seed
        self.collate_fn = collate_fn or default_collate
        self.name = getattr(dataset, "name", "sample {}".format)  # what messages call a sample

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> Any:
        with _seeded(self.seed, *key):
            return self.dataset[key[1]]

    def __getitems__(self, keys: list[Key]) -> tuple[Key, list[Any]]:
        """Fetch what `collate` makes a batch of: the first key, and all samples."""
        return keys[0], [self[key] for key in keys]

    def collate(self, fetched: tuple[Key, list[Any]]) -> Any:
        """Make a batch of what `__getitems__` fetched."""
        key, samples = fetched
        with _seeded(self.seed, *key, len(samples)):  # one number more than a sample has: never a sample's seed
            return self.collate_fn(samples)


def seeded_generator(*numbers: int) -> torch.Generator:
    """Create a generator of torch's on the CPU, whose seed depends on all the numbers, each 0 or more."""
    return torch.Generator().manual_seed(_mixed(*numbers))


def seed_random(*numbers: int) -> None:
    """Seed Python, NumPy and torch on the CPU; the seed depends on all the numbers, each 0 or more."""
    seed = _mixed(*numbers)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators, too


@contextmanager
def _seeded(*numbers: int) -> Iterator[None]:
    """Seed for a while, then leave the random states as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_random(*numbers)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _mixed(*numbers: int) -> int:
    low, high = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return int(low) | (int(high) & 0x7FFFFFFF) << 32
