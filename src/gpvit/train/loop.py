"""The training loop, the same for all tasks: setup, steps, validation, save, in this order."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.fabric import Fabric
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from gpvit.data.samplers import seed_random
from gpvit.errors import UserError
from gpvit.io import expand, write_text
from gpvit.tasks.base import Task
from gpvit.train.checkpoint import alone_in, check_classes, find_start, prepare_folder, save_checkpoint, save_weights
from gpvit.train.config import TrainConfig
from gpvit.train.failures import explained, report_not_finite
from gpvit.train.logging import Row, RunLog, best
from gpvit.train.processes import StepFlags, gather, interrupt, launch, noted_signals
from gpvit.version import __version__


def fit(
    task: Task,
    data: LightningDataModule,
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool | str | Path = False,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a task, and keep the run in a folder.

    The folder will hold `config.yaml`, `metrics.csv`, `metrics.json`, TensorBoard's events, `last.ckpt` and
    `previous.ckpt` to resume from, and the weights `last.safetensors` and `best.safetensors`; with `ema` also
    `ema_last` and `ema_best`. However a run is stopped, once resumed it ends with the weights of one that is not.

    Args:
        task: What to train.
        data: What to train on.
        config: How to train.
        out: The run folder: new, or without a checkpoint, or that of the run to resume.
        resume: True continues the run in `out`, or starts it if there is no checkpoint yet. The folder or a checkpoint
            of another run starts a new run from there, and leaves that one as it is.
        settings: What `config.yaml` is to hold: plain values in the groups `model`, `data`, `optim` and `train`. A run
            is resumed in its folder by its own settings alone.

    Returns:
        What `metrics.json` holds: the rows of `metrics.csv` for the `best` and the `last` weights, the seconds of this
        call, the seed and this package's version.

    Raises:
        FileNotFoundError: There is no checkpoint to resume from.
        UserError: The folder holds something else, the settings do not fit together, a loss is not finite, memory
            runs out, or a loader process is gone.
        Interrupted: A signal asks the run to stop, and it is saved.
    """
    began = time.monotonic()
    settings = settings or {"train": asdict(config)}
    out = expand(out)
    start = find_start(out, resume if isinstance(resume, bool) else expand(resume), settings)
    if start:
        check_classes(start, getattr(data, "class_names", ()))
    fabric = launch(config)
    folder, start = fabric.broadcast((out, start))  # default names hold the time: the first process's counts
    with alone_in(folder, fabric):
        if fabric.is_global_zero:
            prepare_folder(folder, start, settings)
        run = Run(fabric, task, data, config, folder, start)
        with explained(run):
            run.train()
    summary = {
        "best": best(run.rows, task.best_metric),
        "last": run.rows[-1],
        "seconds": round(time.monotonic() - began, 1),
        "seed": run.seed,
        "version": __version__,
    }
    if fabric.is_global_zero:
        write_text(folder / "metrics.json", json.dumps(summary, indent=1) + "\n")
    return summary


class Run:
    """A run: all that a step needs, and how far it is. What it learns is a function of `seed` and `step` alone."""

    def __init__(self, fabric: Fabric, task: Task, data: Any, config: TrainConfig, folder: Path, start: Path | None):
        self.fabric, self.task, self.data, self.config, self.folder = fabric, task, data, config, folder
        state = torch.load(start, map_location="cpu", weights_only=True) if start else {}
        self.seed: int = state.get("seed", config.seed)
        fabric.seed_everything(self.seed, verbose=False)

        # Data and network; the first process of each machine downloads, converts and indexes.
        self.batch_size, self.accumulate = config.batch_layout(data.batch_size, fabric.world_size)
        if self.batch_size != data.batch_size:
            fabric.print(f"batch_size {self.batch_size} in place of {data.batch_size}, for equal parts of a step")
            data.batch_size = self.batch_size
        if hasattr(data, "distribute"):
            data.distribute(fabric.global_rank, fabric.world_size, self.seed)
        task.compiles |= config.compile
        task.grad_checkpointing |= config.grad_checkpointing
        with fabric.rank_zero_first(local=True):
            if fabric.local_rank == 0:
                data.prepare_data()
            task.build(data)
        data.setup("fit")
        self.loader, self.val_loader = data.train_dataloader(), data.val_dataloader()
        self.is_resumable = hasattr(self.loader.batch_sampler, "skip")
        if not self.is_resumable:  # of a data module that knows nothing of processes
            self.loader, self.val_loader = fabric.setup_dataloaders(self.loader, self.val_loader, move_to_device=False)
        self.val_batches = min(gather(fabric, len(self.val_loader)))

        # Length of the run; what does not fill a step is left out of an epoch.
        self.accumulate = min(self.accumulate, len(self.loader))
        self.epoch_steps = len(self.loader) // self.accumulate
        self.total_steps = config.steps or (config.epochs or 0) * self.epoch_steps
        every = config.validate_every
        self.val_steps = every if every and config.steps else self.epoch_steps * (every or 1)
        self.row_steps = self.epoch_steps if config.epochs else self.val_steps
        self.images_per_step = self.batch_size * fabric.world_size * self.accumulate
        if state and (images := state["images_per_step"]) != self.images_per_step:
            raise UserError(
                f"the run in {start} takes {images} images a step, and these settings {self.images_per_step}: "
                f"set train.global_batch_size {images}"
            )

        # Optimiser, DDP and what goes with them.
        in_sync = task.sync_batch_norm if config.sync_batchnorm is None else config.sync_batchnorm
        if in_sync and fabric.world_size > 1 and fabric.device.type == "cuda":
            task.network = nn.SyncBatchNorm.convert_sync_batchnorm(task.network)
        optimizer, self.scheduler = task.create_optimizer(
            total_steps=self.total_steps, epoch_steps=self.epoch_steps, images_per_step=self.images_per_step
        )
        self.module, self.optimizer = fabric.setup(task, optimizer)
        self.ema, self.updates = ModelEmaV3(task.network) if config.ema else None, 0  # updates of the average

        # How far the run is: at its start, or where its checkpoint was written.
        self.step = self.saved = int(state.get("step", 0))
        self.rows: list[Row] = state.get("rows", [])
        self.lr = float(state.get("lr", 0))
        self.skipped, self.count = int(state.get("skipped", 0)), int(state.get("count", 0))
        sums = state.get("sums", [{}])
        own = sums[fabric.global_rank if len(sums) == fabric.world_size else 0]
        self.sums: dict[str, Any] = {name: torch.tensor(value, device=fabric.device) for name, value in own.items()}
        if state:
            task.network.load_state_dict(state["model"])
            self.load_optimizer(state["optimizer"])
            fabric.strategy.precision.load_state_dict(state["precision"])
        if self.ema and state.get("ema"):
            average, self.updates = state["ema"]
            self.ema.module.load_state_dict(average)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take over moments alone: rates and decay are those of this run's settings, at this step."""
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state)
        self.scheduler.last_epoch = self.step
        for group, own, base, factor in zip(
            self.optimizer.param_groups, settings, self.scheduler.base_lrs, self.scheduler.lr_lambdas, strict=True
        ):
            group.update(own, lr=base * factor(self.step))

    def train(self) -> None:
        """Take all steps that are left."""
        if self.fabric.is_global_zero and self.step == 0 and hasattr(self.data, "write_report"):
            self.data.write_report(self.folder)
        self.module.train()
        self.log, batches = RunLog(self), self.load_batches()
        with noted_signals() as noted, self.log:
            self.flags = StepFlags(self.fabric, noted)
            self.record()  # of a run that was stopped before its validation
            while self.step < self.total_steps:
                self.take_step(batches)
                self.heed_signals()
                if (every := self.config.checkpoint_every) and self.step % every == 0:
                    self.save()
                self.record()

    def load_batches(self) -> Iterator[tuple[int, Any]]:
        """Load the batches from this step on, epoch after epoch, each with its number in its epoch."""
        epoch, position = divmod(self.step, self.epoch_steps)
        while True:
            first = position * self.accumulate
            if self.is_resumable:
                self.loader.batch_sampler.set_epoch(epoch)
                self.loader.batch_sampler.skip(first)
            rest = self.loader if self.is_resumable else islice(self.loader, first, None)
            yield from islice(enumerate(rest, first), self.epoch_steps * self.accumulate - first)
            epoch, position = epoch + 1, 0

    def take_step(self, batches: Iterator[tuple[int, Any]]) -> None:
        """Take one optimiser step."""
        began, waited = time.perf_counter(), 0.0
        taken: list[tuple[int, dict[str, Tensor]]] = []
        for part in range(self.accumulate):
            waited -= time.perf_counter()
            index, batch = next(batches)
            waited += time.perf_counter()
            seed_random(self.seed, self.step * self.accumulate + part, self.fabric.global_rank)
            torch.manual_seed(random.getrandbits(63))  # accelerators, too
            with self.fabric.no_backward_sync(self.module, enabled=part + 1 < self.accumulate):
                losses = self.forward(self.module.training_step, batch, index)
                self.fabric.backward(losses["loss"] / self.accumulate)
            taken.append((index, {name: value.detach() for name, value in losses.items()}))

        self.are_finite()  # the losses of the step before: they have arrived by now, so that nothing waits
        self.flags.send(torch.stack([~losses["loss"].isfinite() for _, losses in taken]).any())
        self.taken = self.step, taken
        if not self.config.max_skipped_steps or self.are_finite():
            if norm := self.config.clip:
                self.fabric.clip_gradients(self.module, self.optimizer, max_norm=norm, error_if_nonfinite=False)
            self.optimizer.step()
            if self.ema and self.config.ema:
                self.updates += 1  # at first, the average soon forgets the random weights that it starts from
                self.ema.decay = min(self.config.ema, (1 + self.updates) / (10 + self.updates))
                self.ema.update(self.task.network)
            for _, losses in taken:
                self.sums = {name: self.sums.get(name, 0) + value.float() for name, value in losses.items()}
            self.count += self.accumulate
        self.optimizer.zero_grad()
        self.lr = max(float(group["lr"]) for group in self.optimizer.param_groups)
        self.scheduler.step()
        self.step += 1
        self.log.advance(self.step, time.perf_counter() - began, waited)
        if self.step % 50 == 0:
            self.log.scalars({"loss": losses["loss"], "lr": self.lr}, self.step)

    def forward(self, step: Callable[[Any, int], Any], batch: Any, index: int) -> Any:
        """Call a step of the task on the device, in the precision of the run, which Fabric only sees to under DDP."""
        with self.fabric.autocast():
            return step(self.fabric.strategy.precision.convert_input(self.fabric.to_device(batch)), index)

    def are_finite(self) -> bool:
        """Tell whether the losses sent last are finite in all processes; too many that are not end the run."""
        if is_bad := self.flags.read():
            self.skipped += 1
            report_not_finite(self)
        return not is_bad

    def record(self) -> None:
        """If a row is due, validate where that is due, too, and write the row and the weights; once for a step."""
        is_due = self.step % self.row_steps == 0 or self.step == self.total_steps
        if not is_due or self.step == (self.rows[-1]["step"] if self.rows else 0):
            return
        if self.step > self.saved:
            self.save()  # a run that is stopped during a validation has lost nothing
        row: Row = {"epoch": math.ceil(self.step / self.epoch_steps), "step": self.step, "lr": self.lr}
        means: Any = self.fabric.all_reduce({name: total / self.count for name, total in self.sums.items()})
        row |= {f"train/{name}": float(mean) for name, mean in means.items()}
        if self.step == self.total_steps or self.step % self.val_steps == 0:
            for prefix, network in self.networks().items():
                row |= {name.replace("/", f"/{prefix}"): value for name, value in self.validate(network).items()}
        row |= self.log.figures()
        self.rows.append({name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items()})
        self.sums, self.count = {}, 0
        if self.fabric.is_global_zero:
            save_weights(self)
        self.save()
        self.log.row(self.rows)

    def networks(self) -> dict[str, Any]:
        """What is scored and written: the network, and its average as `ema_`."""
        return {"": self.task.network, **({"ema_": self.ema.module} if self.ema else {})}

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Score a network in the place of the trained one; all processes give the same."""
        if self.fabric.world_size > 1:
            for buffer in network.buffers():  # the first process's are written, so they are scored
                torch.distributed.broadcast(buffer, 0)
        trained, self.task.network = self.task.network, network
        self.module.eval()
        try:
            for index, batch in enumerate(self.val_loader):
                if index < self.val_batches:  # which all processes have
                    self.flags.read()
                    self.flags.send()
                    self.heed_signals()
                self.forward(self.module.validation_step, batch, index)
        finally:
            self.task.network = trained
            self.module.train()
        return self.task.validation_metrics()

    def save(self) -> None:
        """Write a checkpoint; all processes must call it."""
        self.are_finite()  # no checkpoint holds weights that a loss has spoilt
        state = {
            "model": self.task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "ema": (self.ema.module.state_dict(), self.updates) if self.ema else None,
            "sums": gather(self.fabric, {name: float(total) for name, total in self.sums.items()}),
            "images_per_step": self.images_per_step,
            "class_names": list(getattr(self.data, "class_names", ())),
            **{name: getattr(self, name) for name in ("count", "lr", "rows", "seed", "skipped", "step")},
        }
        if self.fabric.is_global_zero:
            save_checkpoint(self.folder, state)
        self.saved = self.step

    def heed_signals(self) -> None:
        """Save what is not saved, and end this process, if a signal asks for it."""
        if number := self.flags.stop:
            if self.step > self.saved:
                self.save()
            interrupt(self.fabric, number, self.folder, self.step)
