"""An order of training samples that keeps reading local: a few shards at a time, other ones on every node."""

from collections.abc import Sequence

import numpy as np
import torch

from gpvit.data.samplers import Order, seeded_generator


class ShardOrder(Order):
    """Shards in random order, and random samples of a few of them at a time; every sample comes once.

    All is a function of the seed and the epoch: it depends neither on loader processes nor on what was read before.
    Several nodes read different shards, so that each keeps only its own share in its file cache; a shard where the
    shares meet is read by two.

    Args:
        lengths: Samples of each shard, in the order of the samples' indices.
        window: Shards whose samples are mixed. More mix better, fewer read more locally.
        seed: What the orders are drawn from; None takes the run's.
        nodes: Machines that train together.
        node_batch: Samples that the processes of one machine take in a step, all together.
    """

    def __init__(
        self, lengths: Sequence[int], window: int = 16, seed: int | None = None, nodes: int = 1, node_batch: int = 1
    ) -> None:
        super().__init__(sum(lengths), seed)
        self.lengths = list(lengths)
        self.window = window
        self.nodes = nodes
        self.node_batch = node_batch

    def indices(self, epoch: int) -> torch.Tensor:
        """Give the order of one epoch, `(N,)`, int64."""
        generator = seeded_generator(self.seed, epoch)
        starts = np.cumsum([0, *self.lengths]).tolist()
        parts = []
        for shards in torch.randperm(len(self.lengths), generator=generator).split(self.window):
            mixed = torch.cat([torch.arange(starts[shard], starts[shard + 1]) for shard in shards.tolist()])
            parts.append(mixed[torch.randperm(len(mixed), generator=generator)])
        return self._shared_out(torch.cat(parts))

    def _shared_out(self, order: torch.Tensor) -> torch.Tensor:
        """Give every node a stretch of the order: step k then takes the k-th batch of each stretch."""
        steps = len(order) // (self.nodes * self.node_batch)
        even = order[: steps * self.nodes * self.node_batch].view(self.nodes, steps, self.node_batch)
        return torch.cat([even.transpose(0, 1).flatten(), order[even.numel() :]])
