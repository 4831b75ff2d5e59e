from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed
from torch.utils.data import DataLoader, DistributedSampler

from gpvit.data.detection.sampler import LikeShapeSampler


def sampler(sizes, batch_size, rank=0, world=1, epoch=0):
    with (
        mock.patch.object(torch.distributed, "is_initialized", return_value=True),
        mock.patch.object(torch.distributed, "get_world_size", return_value=world),
        mock.patch.object(torch.distributed, "get_rank", return_value=rank),
    ):
        made = LikeShapeSampler(range(len(sizes)), sizes, batch_size)
    made.set_epoch(epoch)
    return made


def batches(*arguments, **options):
    made = sampler(*arguments, **options)
    loaded = list(DataLoader(range(10**6), batch_size=made.batch_size, sampler=made))
    assert len(made) == len(loaded) * made.batch_size
    assert all(len(batch) == made.batch_size for batch in loaded)
    return [batch.tolist() for batch in loaded]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_process_has_as_many_batches_of_like_shape(world, batch_size):
    for seed in range(10):
        random = np.random.default_rng(seed)
        sizes = random.integers(1, 100, (int(random.integers(batch_size * world, 80)), 2))
        parts = [batches(sizes, batch_size, rank=rank, world=world, epoch=seed) for rank in range(world)]
        assert {len(part) for part in parts} == {len(sizes) // (batch_size * world)}
        seen = [index for part in parts for batch in part for index in batch]
        assert len(set(seen)) == len(seen)
        mixed = sum(
            len({bool(sizes[index, 1] > sizes[index, 0]) for index in batch}) > 1 for part in parts for batch in part
        )
        assert mixed <= 1


def test_epochs_differ_and_repeat():
    sizes = np.random.default_rng(0).integers(1, 100, (40, 2))
    assert batches(sizes, 4, epoch=0) == batches(sizes, 4, epoch=0) != batches(sizes, 4, epoch=1)


def test_the_runs_seed_counts(monkeypatch):
    sizes = np.random.default_rng(0).integers(1, 100, (40, 2))
    unseeded = batches(sizes, 4)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    assert batches(sizes, 4) != unseeded


def test_every_picture_comes_up():
    sizes = np.random.default_rng(0).integers(1, 100, (23, 2))
    seen = {index for epoch in range(12) for batch in batches(sizes, 4, epoch=epoch) for index in batch}
    assert seen == set(range(23))


@pytest.mark.parametrize("world", [1, 4])
def test_fewer_pictures_than_one_batch_come_again(world):
    sizes = np.array([[10, 20], [20, 10], [20, 10]])
    for rank in range(world):
        (batch,) = batches(sizes, 4, rank=rank, world=world)
        assert set(batch) <= {0, 1, 2}


def test_without_processes():
    made = LikeShapeSampler(range(9), np.ones((9, 2)), 2)
    assert isinstance(made, DistributedSampler)  # which Lightning leaves as it is
    assert len(set(made)) == len(made) == 8
