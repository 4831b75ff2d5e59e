import numpy as np
import pytest
import torch
from gpvit.data.classification.shard_sampler import ShardOrder

LENGTHS = [7, 0, 12, 3, 9, 9, 1, 20]


@pytest.mark.parametrize("window", [1, 3, 100])
@pytest.mark.parametrize(("nodes", "node_batch"), [(1, 1), (2, 4), (3, 5), (5, 100)])
def test_every_sample_comes_once_in_every_epoch(window, nodes, node_batch):
    order = ShardOrder(LENGTHS, window, 0, nodes, node_batch)
    epochs = [order.indices(epoch) for epoch in range(3)]
    for epoch, indices in enumerate(epochs):
        assert sorted(indices.tolist()) == list(range(len(order))) == list(range(sum(LENGTHS)))
        assert torch.equal(indices, ShardOrder(LENGTHS, window, 0, nodes, node_batch).indices(epoch))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], ShardOrder(LENGTHS, window, 1, nodes, node_batch).indices(0))


def shards_of(indices, lengths):
    return np.searchsorted(np.cumsum(lengths), indices.numpy(), side="right")


def test_reading_keeps_to_a_few_shards_at_a_time():
    lengths = [10] * 12
    shards = shards_of(ShardOrder(lengths, 3, 0).indices(0), lengths).reshape(4, 30)
    assert [len(set(window)) for window in shards] == [3] * 4
    assert all(list(window) != sorted(window, key=list(window).index) for window in shards)  # mixed, not one by one


def test_nodes_read_different_shards():
    lengths, nodes, node_batch = [10] * 12, 3, 4
    indices = ShardOrder(lengths, 2, 0, nodes, node_batch).indices(0)
    steps = shards_of(indices, lengths).reshape(-1, nodes, node_batch)
    read = [set(steps[:, node].flatten()) for node in range(nodes)]
    assert [len(shards) for shards in read] == [4] * 3
    assert len(set.union(*read)) == 12
