import numpy as np
import pytest
import torch

from gpvit.data.detection.module import AspectRatioOrder
from gpvit.data.samplers import ResumableBatchSampler


def random_sizes(seed, count):
    return np.random.default_rng(seed).integers(1, 100, (count, 2))


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_process_has_as_many_batches_of_like_shape(world, batch_size):
    for seed in range(10):
        count = int(np.random.default_rng(seed).integers(batch_size * world, 80))
        sizes = random_sizes(seed, count)
        order = AspectRatioOrder(sizes, batch_size)
        parts = [ResumableBatchSampler(order, batch_size, seed, rank, world) for rank in range(world)]
        batches = [[index for _, index in batch] for part in parts for batch in part]
        assert len(batches) == count // (batch_size * world) * world
        seen = [index for batch in batches for index in batch]
        assert len(set(seen)) == len(seen) == len(batches) * batch_size
        assert sum(len({bool(sizes[index, 1] > sizes[index, 0]) for index in batch}) > 1 for batch in batches) <= 1


def test_an_order_has_every_picture_once_and_differs_by_epoch_and_seed():
    sizes = random_sizes(0, 43)
    orders = [AspectRatioOrder(sizes, 4).indices(seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert torch.equal(orders[0], orders[1])
    assert not any(torch.equal(orders[0], other) for other in orders[2:])
    assert all(order.sort().values.tolist() == list(range(43)) for order in orders)


def test_fewer_pictures_than_one_batch_are_all_there():
    order = AspectRatioOrder(np.array([[10, 20], [20, 10], [20, 10]]), 4).indices(0, 0)
    assert order.sort().values.tolist() == [0, 1, 2]
