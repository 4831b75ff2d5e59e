"""What to do when training runs out of memory, and about how much that saves."""

from typing import Any

import torch
from lightning import LightningModule, Trainer

# Shares of a batch's activations that are no longer kept. Measured for L1 and L4 at 224 pixels by the bytes that
# autograd saves: gradient checkpointing leaves 0.1 of them, and needs those of the block that it computes again, too;
# bf16-mixed leaves 0.62 (L1) to 0.81 (L4), as weights, norms and the residual stream stay in full precision.
_CHECKPOINTING = 0.7
_BF16 = 0.2
_STATES = 2  # numbers that AdamW keeps for each weight, beside its gradient
_GIB = 2**30


def memory_advice(trainer: Trainer, task: LightningModule, reason: str) -> str:
    """Say what training held when memory ran out, and what those of three remedies save that are not in use.

    Args:
        trainer: Of the run.
        task: What is trained.
        reason: What torch said.
    """
    device = trainer.strategy.root_device
    fixed = _fixed_bytes(task)
    activations = None
    if device.type == "cuda":
        activations = max(torch.cuda.max_memory_allocated(device) - fixed, 0)
    batch = _batch_size(trainer)
    held = f"Weights, gradients and AdamW's averages take {fixed / _GIB:.2f} GiB"
    if activations is not None:
        held += f", what was kept of the batch when it stopped {activations / _GIB:.2f} GiB"
    accumulated = trainer.accumulate_grad_batches * 2
    remedies = []
    if batch > 1:
        remedies.append(
            f"smaller batches, as many images a step: --data.batch_size {batch // 2} "
            f"--trainer.accumulate_grad_batches {accumulated}{_saving(0.5, activations)}"
        )
    if not task.hparams.get("grad_checkpointing"):
        saving = _saving(_CHECKPOINTING, activations)
        remedies.append(f"gradient checkpointing: --model.grad_checkpointing true{saving}; steps take a third longer")
    if trainer.precision == "32-true":
        saving = _saving(_BF16, activations)
        remedies.append(f"half precision: --trainer.precision bf16-mixed{saving} or more; faster on GPUs, too")
    if not remedies:
        remedies.append("smaller images, a smaller model, or fsdp2 on several devices: nothing else is left to halve")
    lines = "\n".join(f"  {number}. {remedy}" for number, remedy in enumerate(remedies, start=1))
    return (
        f"out of memory on {device} at step {trainer.global_step}: {_batch_words(trainer, task)}, precision "
        f"{trainer.precision} ({reason}).\n{held}. What helps, alone or together:\n{lines}"
    )


def _fixed_bytes(task: LightningModule) -> int:
    """Count the bytes of weights and of what training keeps for each of them, whatever the batch."""
    return sum(
        parameter.numel() * parameter.element_size() * (2 + _STATES if parameter.requires_grad else 1)
        for parameter in task.parameters()
    )


def _batch_size(trainer: Trainer) -> int:
    return int(getattr(trainer.datamodule, "batch_size", 1))  # type: ignore[attr-defined]


def _batch_words(trainer: Trainer, task: LightningModule) -> str:
    """Say how large the batch was: the one at hand, or as the data are set."""
    if shape := getattr(task, "batch_shape", None):
        count, channels, height, width = shape
        return f"a batch of {count} images of {channels}x{height}x{width} (channels, height, width)"
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    size = getattr(getattr(data, "preprocessing", None), "input_size", None)
    return f"batches of {_batch_size(trainer)} images" + (f" of {'x'.join(map(str, size))}" if size else "")


def _saving(share: float, activations: int | None) -> str:
    part = f"about {share:.0%} of what is kept of a batch"
    return f", saves {part}" if activations is None else f", saves {part}, {activations * share / _GIB:.2f} GiB"
