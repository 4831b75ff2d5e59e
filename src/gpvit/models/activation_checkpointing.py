"""Gradient checkpointing that leaves batch statistics as they would be without it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def checkpoint_block(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Run a block and keep only its input; its insides are computed again in the backward pass."""
    if torch.compiler.is_compiling():  # the compiler traces one run and knows no contexts
        return checkpoint(block, x, use_reentrant=False)
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _frozen_batch_stats(block)))


@contextmanager
def _frozen_batch_stats(module: nn.Module) -> Iterator[None]:
    """Keep running statistics from counting the second run of the same batch."""
    norms = [m for m in module.modules() if isinstance(m, _BATCH_NORMS)]
    before = [(m.momentum, m.num_batches_tracked) for m in norms]
    for norm, (_, batches) in zip(norms, before, strict=True):
        norm.momentum = 0.0
        norm.num_batches_tracked = None if batches is None else batches.clone()  # SyncBatchNorm asks for one
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
