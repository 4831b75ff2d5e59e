"""Training data as a pure function of seed, epoch and position, so that a run can go on where it stopped.

Which samples a batch holds, and how each is varied, depends neither on what was read before nor on the number of
loader processes: nothing but a seed and a position must be kept.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.utils.data import Dataset, Sampler, default_collate

from gpvit.errors import UserError

Key = tuple[int, int]
"""Epoch and index of a sample."""


class Order:
    """The order of the samples of a dataset, another one in each epoch.

    Args:
        length: Number of samples of the dataset.
        seed: What the orders are drawn from; None takes `run_seed()`.
    """

    def __init__(self, length: int, seed: int | None = None) -> None:
        self.length = length
        self.seed = run_seed() if seed is None else seed

    def __len__(self) -> int:
        return self.length

    def indices(self, epoch: int) -> torch.Tensor:
        """Give the order of one epoch, for all processes together, `(N,)`, int64; every order has its own.

        Step k of W processes with B samples each takes `[k * W * B : (k + 1) * W * B]`, process r the r-th B of them.
        """
        raise NotImplementedError


class Shuffled(Order):
    """All samples in random order."""

    def indices(self, epoch: int) -> torch.Tensor:
        """Give all indices, shuffled."""
        return torch.randperm(self.length, generator=seeded_generator(self.seed, epoch))


class EpochBatches(Sampler[list[Key]]):
    """The batches of one process: lists of `(epoch, index)`, in the order of an `Order`.

    All processes have equally many batches, and all batches are full: what is left at an epoch's end is left out.
    Where there are fewer samples than one full batch for each process, an epoch is one batch of them all, shared out;
    some come twice if that does not go even. Passes that end count epochs, unless `set_epoch` is told.

    Args:
        order: Of the samples.
        batch_size: Samples per batch and process.
        rank: Number of this process; None asks torch.distributed.
        world_size: Number of processes; None asks torch.distributed.

    Attributes:
        epoch: What the next pass will yield.
    """

    def __init__(self, order: Order, batch_size: int, rank: int | None = None, world_size: int | None = None) -> None:
        if len(order) < 1:
            raise UserError("there is no sample to train on")
        own_rank, own_world_size = process()
        self.order = order
        self.rank = own_rank if rank is None else rank
        self.world_size = own_world_size if world_size is None else world_size
        self.batch_size = min(batch_size, -(-len(order) // self.world_size))
        self.epoch = 0
        self._start = 0
        self._drawn: tuple[int, int, torch.Tensor] | None = None  # seed and epoch of the order that was drawn last

    def __len__(self) -> int:
        return max(len(self.order) // (self.batch_size * self.world_size), 1)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, start = self.epoch, self._start
        self._start = 0
        for step in range(start, len(self)):
            yield [(epoch, index) for index in self.batch(epoch, step)]
        self.epoch = epoch + 1

    @property
    def sampler(self) -> "EpochBatches":
        """Itself: a Trainer tells the epoch to the sampler of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass yields."""
        self.epoch = epoch

    def skip(self, batches: int) -> None:
        """Leave the first batches out of the next pass, and of that alone; no sample of them is read."""
        self._start = batches

    def batch(self, epoch: int, step: int) -> list[int]:
        """Tell which samples a batch of this process holds.

        Args:
            epoch: From 0.
            step: Number of the batch in its epoch, from 0.
        """
        first = (step * self.world_size + self.rank) * self.batch_size
        return self._indices(epoch)[first : first + self.batch_size].tolist()

    def _indices(self, epoch: int) -> torch.Tensor:
        if self._drawn is None or self._drawn[:2] != (self.order.seed, epoch):
            indices = self.order.indices(epoch)
            if (lacking := self.batch_size * self.world_size - len(indices)) > 0:
                indices = torch.cat([indices, indices.repeat(-(-lacking // len(indices)))[:lacking]])
            self._drawn = (self.order.seed, epoch, indices)
        return self._drawn[2]


class Seeded(Dataset[Any]):
    """A dataset whose random changes to a sample depend on seed, epoch and index alone.

    Indexed by `(epoch, index)`, it leaves the caller's random state as it was. Batches that a loader fetches are to be
    collated by its `collate`, so that what varies whole batches is seeded too.

    Args:
        dataset: What to read from, by index.
        seed: Of all random changes; None takes `run_seed()`.
        collate_fn: Makes a batch of a list of samples, perhaps with random changes.
    """

    def __init__(
        self, dataset: Dataset[Any], seed: int | None = None, collate_fn: Callable[[list[Any]], Any] | None = None
    ) -> None:
        self.dataset = dataset
        self.seed = run_seed() if seed is None else seed
        self.collate_fn = collate_fn or default_collate

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> Any:
        with kept_random_state():
            return self._sample(key)

    def __getitems__(self, keys: list[Key]) -> tuple[int, Key, list[Any]]:
        """Fetch what `collate` makes a batch of: the seed, the first key, and all samples."""
        with kept_random_state():
            return self.seed, keys[0], [self._sample(key) for key in keys]

    def collate(self, fetched: tuple[int, Key, list[Any]]) -> Any:
        """Make a batch of what `__getitems__` fetched."""
        seed, key, samples = fetched
        with kept_random_state():
            seed_random(seed, *key, len(samples))  # one number more than a sample has: never the seed of a sample
            return self.collate_fn(samples)

    def _sample(self, key: Key) -> Any:
        seed_random(self.seed, *key)
        return self.dataset[key[1]]

    def name(self, index: int) -> str:
        """Name a sample, for messages: by the dataset's own `name`, if it has one."""
        own: Callable[[int], str] | None = getattr(self.dataset, "name", None)
        return own(index) if own else f"sample {index}"


def run_seed() -> int:
    """Return the seed of this run, alike in all of its processes: Lightning's `seed_everything`, else torch's."""
    return int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))


def process() -> tuple[int, int]:
    """Return the number of this process, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def seeded_generator(*numbers: int) -> torch.Generator:
    """Create a generator of torch's on the CPU, whose seed depends on all the numbers, each 0 or more."""
    return torch.Generator().manual_seed(_mixed(numbers))


def seed_random(*numbers: int) -> None:
    """Seed Python, NumPy and torch on the CPU; the seed depends on all the numbers, each 0 or more."""
    seed = _mixed(numbers)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators, too


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave the random states of Python, NumPy and torch on the CPU as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _mixed(numbers: Sequence[int]) -> int:
    low, high = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return int(low) | (int(high) & 0x7FFFFFFF) << 32
