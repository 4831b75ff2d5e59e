"""Settings of a run: its length, devices and what is kept of it."""

from dataclasses import dataclass
from typing import Literal

from gpvit.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a run runs. Give `epochs` or `steps`.

    Args:
        epochs: Length of the run in passes over the training images.
        steps: Length of the run in optimiser steps.
        global_batch_size: Images of a step on all devices together; accumulation follows from `data.batch_size`,
            which is what one device takes at a time, and the number of devices.
        accumulate: Batches whose gradients make a step; instead of `global_batch_size`.
        devices: Devices of a machine; `auto` takes all GPUs, or one process on the CPU.
        nodes: Machines.
        accelerator: `auto`, `gpu`, `cpu` or what else Lightning Fabric knows.
        precision: `32-true`, `bf16-mixed` or `16-mixed`.
        clip: Largest norm of all gradients together; None does not clip.
        ema: Decay of an exponential moving average of the weights, scored and saved beside them; None keeps none.
        validate_every: Epochs from one validation to the next, or steps where the run's length is in steps; None
            validates after every epoch in both. The end of a run is validated, too.
        checkpoint_every: Steps from one checkpoint to the next, beside those at validations.
        compile: Have torch.compile make kernels for the network.
        grad_checkpointing: Keep only each block's input for the backward pass: less memory, more time.
        sync_batchnorm: Whether batch norms see the images of all GPUs; None leaves it to the task.
        max_skipped_steps: Steps with a loss that is not finite that are skipped; one more ends the run. With 1 or
            more, each step waits for its loss before the weights move.
        loggers: Beside `metrics.csv`: `tensorboard`, `wandb`.
        seed: Of everything random.

    Raises:
        UserError: If settings contradict each other or are out of range.
    """

    epochs: int | None = None
    steps: int | None = None
    global_batch_size: int | None = None
    accumulate: int | None = None
    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    accelerator: str = "auto"
    precision: str = "32-true"
    clip: float | None = None
    ema: float | None = None
    validate_every: int | None = None
    checkpoint_every: int | None = None
    compile: bool = False
    grad_checkpointing: bool = False
    sync_batchnorm: bool | None = None
    max_skipped_steps: int = 0
    loggers: tuple[str, ...] = ("tensorboard",)
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UserError(f"epochs {self.epochs} and steps {self.steps}: give one of the two, the run's length")
        if self.global_batch_size is not None and self.accumulate is not None:
            raise UserError(
                "global_batch_size and accumulate: give one of the two; accumulation follows from the first"
            )
        counts = ("epochs", "steps", "global_batch_size", "accumulate", "nodes", "validate_every", "checkpoint_every")
        for name in counts:
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} {value}: give 1 or more")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UserError(f"ema {self.ema}: give a decay between 0 and 1, such as 0.9998, or null")
        if unknown := set(self.loggers) - {"tensorboard", "wandb"}:
            raise UserError(f"loggers {', '.join(sorted(unknown))}: choose of tensorboard and wandb")

    def batch_layout(self, batch_size: int, processes: int) -> tuple[int, int]:
        """Divide the images of a step among processes and batches of at most `batch_size`.

        Returns:
            Images of a batch, lowered where that divides evenly (to an even number if it can), and batches of a step.
        """
        if self.global_batch_size is None:
            return batch_size, self.accumulate or 1
        images, rest = divmod(self.global_batch_size, processes)
        if rest or not images:
            raise UserError(
                f"train.global_batch_size {self.global_batch_size} cannot be shared by {processes} devices: "
                f"give a multiple of {processes}, or other train.devices"
            )
        divisors = [size for size in range(1, min(batch_size, images) + 1) if images % size == 0]
        size = max(divisors, key=lambda size: (size == batch_size, size % 2 == 0, size))
        return size, images // size
