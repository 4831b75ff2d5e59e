"""The training loop, the same for all tasks: setup, steps, validation, save, in this order."""

import json
import math
import random
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning import LightningDataModule
from lightning.fabric import Fabric
from torch import Tensor, nn

from gpvit.data.samplers import seed_random
from gpvit.devices import peak_memory
from gpvit.errors import UserError
from gpvit.io import write_text
from gpvit.tasks.base import Task
from gpvit.train.checkpoint import save_checkpoint, save_weights
from gpvit.train.config import TrainConfig
from gpvit.train.ema import ModelEMA
from gpvit.train.failures import explained
from gpvit.train.launch import exit_code, launch
from gpvit.train.logging import Row, RunLog
from gpvit.train.nan_guard import report_not_finite
from gpvit.train.preemption import Interrupted, Signals, StepFlags
from gpvit.train.run_folder import find_start, prepare_folder
from gpvit.version import __version__

_LOG_EVERY = 50  # steps


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
    `ema_last` and `ema_best`. A run that is stopped, however, and resumed ends with the weights of one that is not.

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
            runs out, or a process is gone.
        Interrupted: A signal asks the run to stop, and it is saved.
    """
    begun = time.monotonic()
    settings = settings or {"train": asdict(config)}
    start = find_start(Path(out), resume if isinstance(resume, bool) else Path(resume), settings)
    fabric = launch(config)
    folder, start = fabric.broadcast((Path(out), start))  # by its time of day, each process names another folder
    if fabric.is_global_zero:
        prepare_folder(folder, start, settings)
    run = Run(fabric, task, data, config, folder, start)
    with explained(run), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # of depthwise kernels
        run.train()
    summary = {
        "best": best(run.rows, task.best_metric),
        "last": run.rows[-1],
        "seconds": round(time.monotonic() - begun, 1),
        "seed": run.seed,
        "version": __version__,
    }
    if fabric.is_global_zero:
        write_text(folder / "metrics.json", json.dumps(summary, indent=1) + "\n")
    return summary


class Run:
    """A run: all that a step needs, and how far it is. What it does is a function of `seed` and `step` alone.

    Args:
        fabric: Launched.
        task: What to train.
        data: What to train on.
        config: How to train.
        folder: The run folder.
        start: A checkpoint to start from.
    """

    def __init__(
        self, fabric: Fabric, task: Task, data: Any, config: TrainConfig, folder: Path, start: Path | None
    ) -> None:
        self.fabric, self.task, self.data, self.config, self.folder = fabric, task, data, config, folder
        state = torch.load(start, map_location="cpu", weights_only=True) if start else {}
        self.seed: int = state.get("seed", config.seed)
        fabric.seed_everything(self.seed, verbose=False)

        self.batch_size, self.accumulate = batch_layout(config, data.batch_size, fabric.world_size)
        if self.batch_size != data.batch_size:
            fabric.print(f"batch_size {self.batch_size} in place of {data.batch_size}, for equal parts of a step")
            data.batch_size = self.batch_size
        if hasattr(data, "distribute"):
            data.distribute(fabric.global_rank, fabric.world_size, self.seed)
        task.compiles |= config.compile
        task.grad_checkpointing |= config.grad_checkpointing
        with fabric.rank_zero_first(local=True):  # others then find the indexes and weights that it made
            if fabric.local_rank == 0:
                data.prepare_data()
            task.build(data)
        data.setup("fit")
        self.loader, self.val_loader = data.train_dataloader(), data.val_dataloader()
        self.is_resumable = hasattr(self.loader.batch_sampler, "skip")
        if not self.is_resumable:  # of a data module that does not know of processes
            self.loader, self.val_loader = fabric.setup_dataloaders(self.loader, self.val_loader, move_to_device=False)
        self.val_batches = int(fabric.all_reduce(torch.tensor(len(self.val_loader)), reduce_op="min"))

        self.accumulate = min(self.accumulate, len(self.loader))
        self.epoch_steps = len(self.loader) // self.accumulate  # what does not fill a step is left out
        self.total_steps = config.steps or (config.epochs or 0) * self.epoch_steps
        self.images_per_step = self.batch_size * fabric.world_size * self.accumulate
        if state and state["images_per_step"] != self.images_per_step:
            raise UserError(
                f"the run in {start} takes {state['images_per_step']} images a step, and these settings "
                f"{self.images_per_step}: set train.global_batch_size {state['images_per_step']}"
            )
        in_sync = task.sync_batch_norm if config.sync_batchnorm is None else config.sync_batchnorm
        if in_sync and fabric.world_size > 1 and fabric.device.type == "cuda":
            task.network = nn.SyncBatchNorm.convert_sync_batchnorm(task.network)
        optimizer, self.scheduler = task.create_optimizer(
            total_steps=self.total_steps, epoch_steps=self.epoch_steps, images_per_step=self.images_per_step
        )
        self.module, self.optimizer = fabric.setup(task, optimizer)
        self.ema = ModelEMA(task.network, config.ema) if config.ema else None

        self.step = self.saved = int(state.get("step", 0))
        self.rows: list[Row] = state.get("rows", [])
        self.skipped: int = state.get("skipped", 0)
        self.count: int = state.get("count", 0)
        sums = {name: torch.tensor(values) for name, values in state.get("sums", {}).items()}
        kept = {n: v[fabric.global_rank] if len(v) == fabric.world_size else v.mean() for n, v in sums.items()}
        self.sums: dict[str, Tensor] = fabric.to_device(kept)
        if state:
            task.network.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            fabric.strategy.precision.load_state_dict(state["precision"])
            if self.ema and state["ema"]:
                self.ema.load_state_dict(state["ema"])

    def train(self) -> None:
        """Take all steps that are left."""
        fabric, is_first = self.fabric, self.fabric.is_global_zero
        self.log = RunLog(
            self.folder, is_first, self.config.loggers, self.task.best_metric, self.step, self.total_steps
        )
        parameters = sum(parameter.numel() for parameter in self.task.network.parameters())
        self.log.print(
            f"run folder {self.folder}\n{parameters / 1e6:.2f} M parameters on {fabric.world_size} x {fabric.device}, "
            f"{self.images_per_step} images a step, {self.total_steps:,} steps"
        )
        if is_first and self.step == 0 and hasattr(self.data, "write_report"):
            self.data.write_report(self.folder)
        batches = self.batches()
        self.module.train()
        with Signals() as signals, self.log:
            self.flags = StepFlags(fabric, signals)
            while True:
                if self.step > self.recorded and (self.step % self.row_steps == 0 or self.step == self.total_steps):
                    self.record()
                if self.step >= self.total_steps:
                    break
                self.take_step(batches)
                if self.flags.stop:
                    self.stop()
                if self.config.checkpoint_every and self.step % self.config.checkpoint_every == 0:
                    self.save()

    @property
    def recorded(self) -> int:
        """The step of the last row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def row_steps(self) -> int:
        """Steps from one row of `metrics.csv` to the next."""
        return self.epoch_steps if self.config.epochs else self.config.validate_every or self.total_steps

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Load the batches from this step on, epoch after epoch, each with its number in its epoch."""
        epoch, position = divmod(self.step, self.epoch_steps)
        while True:
            first = position * self.accumulate
            loader: Any = self.loader
            if self.is_resumable:
                loader.batch_sampler.set_epoch(epoch)
                loader.batch_sampler.skip(first)
            else:
                loader = islice(loader, first, None)
            yield from islice(enumerate(loader, first), self.epoch_steps * self.accumulate - first)
            epoch, position = epoch + 1, 0

    def take_step(self, batches: Iterator[tuple[int, Any]]) -> None:
        """Take one optimiser step."""
        began, waited = time.perf_counter(), 0.0
        taken: list[tuple[int, dict[str, Tensor]]] = []
        for part in range(self.accumulate):
            asked = time.perf_counter()
            index, batch = next(batches)
            waited += time.perf_counter() - asked
            seed_random(self.seed, self.step * self.accumulate + part, self.fabric.global_rank)
            torch.manual_seed(random.getrandbits(63))  # of accelerators, too
            with self.fabric.no_backward_sync(self.module, enabled=part + 1 < self.accumulate):
                losses = self.module.training_step(self.fabric.to_device(batch), index)
                self.fabric.backward(losses["loss"] / self.accumulate)
            taken.append((index, {name: value.detach() for name, value in losses.items()}))

        self.check_losses()  # of the step before: they have arrived by now, so that nothing waits
        self.flags.send(torch.stack([~losses["loss"].isfinite() for _, losses in taken]).any())
        self.taken = self.step, taken
        if not self.config.max_skipped_steps or self.check_losses():
            if self.config.clip:
                self.fabric.clip_gradients(
                    self.module, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False
                )
            self.optimizer.step()
            if self.ema:
                self.ema.update()
            for _, losses in taken:
                self.sums = {name: self.sums.get(name, 0) + value.float() for name, value in losses.items()}
            self.count += self.accumulate
        self.optimizer.zero_grad()
        self.scheduler.step()
        self.step += 1
        self.log.advance(self.step)
        self.log.speed.add(self.images_per_step, time.perf_counter() - began, waited)
        if self.step % _LOG_EVERY == 0 and self.log.loggers:
            self.log.scalars({"loss": float(losses["loss"]), "lr": self.lr}, self.step)

    def check_losses(self) -> bool:
        """Tell whether the losses sent last are finite in all processes; too many that are not end the run."""
        if not self.flags.read():
            return True
        self.skipped += 1
        report_not_finite(self)
        return False

    @property
    def lr(self) -> float:
        """The highest learning rate of all groups of parameters."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def record(self) -> None:
        """Validate, if it is time to, and write a row and the weights."""
        if self.step > self.saved:
            self.save()  # a run that is stopped during a validation has lost nothing
        epoch = math.ceil(self.step / self.epoch_steps)
        row: Row = {"epoch": epoch, "step": self.step, "lr": self.lr}
        means = {n: self.fabric.all_reduce(total / self.count) for n, total in self.sums.items()}
        row |= {f"train/{name}": float(mean) for name, mean in means.items()}
        every = self.config.validate_every
        if self.step == self.total_steps or not self.config.epochs or (every and epoch % every == 0):
            row |= self.validate()
            if self.ema:
                with self.ema.in_network():
                    row |= {name.replace("/", "/ema_"): value for name, value in self.validate().items()}
        row |= self.log.speed.take()
        if (peak := peak_memory(self.fabric.device)) is not None:
            row["memory/peak_gib"] = peak / 2**30
        self.rows.append(
            {name: value if isinstance(value, int) else float(f"{value:.6g}") for name, value in row.items()}
        )
        self.sums, self.count = {}, 0
        if self.fabric.is_global_zero:
            self.save_weights("")
            if self.ema:
                with self.ema.in_network():
                    self.save_weights("ema_")
        self.save()
        self.log.row(self.rows, f"epoch {epoch}/{self.config.epochs}" if self.config.epochs else f"step {self.step}")

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Score the network that is in place, alike in all processes."""
        if self.fabric.world_size > 1:
            for buffer in self.task.network.buffers():  # those of the first process are what is written
                torch.distributed.broadcast(buffer, 0)
        self.log.advance(self.step, "validating")
        self.module.eval()
        for index, batch in enumerate(self.val_loader):
            if index < self.val_batches:  # that all processes have
                self.flags.read()
                self.flags.send()
                if self.flags.stop:
                    self.stop()
            self.module.validation_step(self.fabric.to_device(batch), index)
        self.module.train()
        return self.task.validation_metrics()

    def save_weights(self, prefix: str) -> None:
        """Write the network that is in place as the last weights, and as the best if it is that."""
        metric = self.task.best_metric.replace("/", f"/{prefix}")
        for name in ("last", "best"):
            if name == "last" or best(self.rows, metric) is self.rows[-1]:
                save_weights(self.task.network, self.data, self.folder / f"{prefix}{name}.safetensors")

    def save(self) -> None:
        """Write a checkpoint; all processes must call it."""
        self.check_losses()  # so that no checkpoint holds weights that a loss has spoilt
        sums = {name: self.fabric.all_gather(total).flatten().tolist() for name, total in self.sums.items()}
        if self.fabric.is_global_zero:
            state = {
                "model": self.task.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "ema": self.ema.state_dict() if self.ema else None,
                "step": self.step,
                "rows": self.rows,
                "sums": sums,
                "count": self.count,
                "skipped": self.skipped,
                "seed": self.seed,
                "images_per_step": self.images_per_step,
            }
            save_checkpoint(self.folder, state)
        self.saved = self.step

    def stop(self) -> None:
        """Save what is not saved, and end this process as the signal asks."""
        number = self.flags.stop
        if self.step > self.saved:
            self.save()
        self.fabric.barrier()  # the others' end would end the one that saves
        if self.fabric.is_global_zero:
            kept = f"{self.folder} is saved after step {self.step}" if self.step else "nothing was learned yet"
            told = f"stopped by {signal.Signals(number).name}: {kept}. gpvit train --resume {self.folder} continues"
            print(told, file=sys.stderr, flush=True)
        raise Interrupted(exit_code(self.fabric, number))


def best(rows: list[Row], metric: str) -> Row:
    """Return the row with the highest value of a metric, the first of several; empty where none has it."""
    return max((row for row in rows if metric in row), key=lambda row: row[metric], default={})


def batch_layout(config: TrainConfig, batch_size: int, processes: int) -> tuple[int, int]:
    """Divide the images of a step among processes and batches.

    Args:
        config: Says how many images, or how many batches.
        batch_size: Images that a device takes at a time.
        processes: Devices of all machines together.

    Returns:
        Images of a batch, lowered where that divides evenly (to an even number if it can), and batches of a step.

    Raises:
        UserError: If the images cannot be shared by the processes.
    """
    if config.global_batch_size is None:
        return batch_size, config.accumulate or 1
    images, rest = divmod(config.global_batch_size, processes)
    if rest or not images:
        raise UserError(
            f"train.global_batch_size {config.global_batch_size} cannot be shared by {processes} devices: "
            f"give a multiple of {processes}, or other train.devices"
        )
    divisors = [size for size in range(1, min(batch_size, images) + 1) if images % size == 0]
    size = max(divisors, key=lambda size: (size == batch_size, size % 2 == 0, size))
    return size, images // size
