"""Batches of pictures of like shape, so that little of a batch is padding."""

import os
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed
from torch.utils.data import Dataset, DistributedSampler


class LikeShapeSampler(DistributedSampler[int]):
    """Order pictures so that every batch holds wide ones or tall ones only, in random order, anew each epoch.

    For each process it gives as many batches as for any other, all full. What does not fill the last batch of a shape
    is mixed with the rest of the other shape; what is left then, fewer pictures than one batch for each process, waits
    for another epoch. Lightning takes a distributed sampler as it is, and tells it the epoch.

    Args:
        dataset: What is sampled from.
        sizes: Height and width of each picture, `(N, 2)`.
        batch_size: Pictures per batch and process.
    """

    def __init__(self, dataset: Dataset[object], sizes: np.ndarray, batch_size: int) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        super().__init__(
            dataset,
            num_replicas=torch.distributed.get_world_size() if distributed else 1,
            rank=torch.distributed.get_rank() if distributed else 0,
            seed=int(os.environ.get("PL_GLOBAL_SEED", 0)),  # as Lightning seeds its own, alike in all processes
        )
        self.batch_size = batch_size
        self._is_wide = torch.from_numpy(np.ascontiguousarray(sizes[:, 1] > sizes[:, 0]))
        self.num_batches = max(len(self._is_wide) // (batch_size * self.num_replicas), 1)

    def __len__(self) -> int:
        return self.num_batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self._is_wide), generator=generator)
        needed = self.num_batches * self.num_replicas
        if len(order) < needed * self.batch_size:  # fewer pictures than one batch for each process: some come again
            order = order.repeat(-(-needed * self.batch_size // len(order)))[: needed * self.batch_size]
        shapes = [order[self._is_wide[order] == wide] for wide in (True, False)]
        full = [len(shape) // self.batch_size * self.batch_size for shape in shapes]
        mixed = torch.cat([shape[count:] for shape, count in zip(shapes, full, strict=True)])
        full.append(len(mixed) // self.batch_size * self.batch_size)
        batches = torch.cat(
            [part[:count].view(-1, self.batch_size) for part, count in zip([*shapes, mixed], full, strict=True)]
        )
        batches = batches[torch.randperm(len(batches), generator=generator)[:needed]]
        return iter(batches[self.rank :: self.num_replicas].flatten().tolist())
