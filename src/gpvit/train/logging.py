"""What a run says of itself: lines, a progress bar, `metrics.csv`, TensorBoard and Weights & Biases."""

import csv
import io
import sys
import time
from datetime import timedelta
from typing import Any

from lightning.fabric.loggers import Logger, TensorBoardLogger
from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpvit.devices import peak_memory
from gpvit.errors import UserError
from gpvit.io import write_text

_COLUMNS = 80
Row = dict[str, float]
"""What is known after an epoch or a validation: `epoch`, `step`, `lr`, `train/...`, `val/...`, speed and memory."""


def best(rows: list[Row], metric: str) -> Row:
    """Return the row with the highest value of a metric, the first of several; empty where none has it."""
    return max((row for row in rows if metric in row), key=lambda row: row[metric], default={})


class RunLog:
    """Writes what the first process of a run reports; in the others it only counts."""

    def __init__(self, run: Any) -> None:
        self.run = run
        is_first = run.fabric.is_global_zero
        self.loggers = [_logger(name, run) for name in run.config.loggers] if is_first else []
        self.steps, self.seconds, self.waited = 0, 0.0, 0.0
        self._first, self._began = run.step, time.perf_counter()
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        is_shown = is_first and sys.stdout.isatty()
        self._bar = Progress(*columns, transient=True, disable=not is_shown, refresh_per_second=4)
        self._task = self._bar.add_task("step", total=run.total_steps, completed=run.step)
        parameters = sum(parameter.numel() for parameter in run.task.network.parameters())
        rank_zero_only(print)(
            f"run folder {run.folder}\n{parameters / 1e6:.2f} M parameters on {run.fabric.world_size} x "
            f"{run.fabric.device.type}, {run.images_per_step} images a step, {run.total_steps:,} steps",
            flush=True,
        )

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        for logger in self.loggers:
            logger.finalize("finished")

    def advance(self, step: int, seconds: float, waited: float) -> None:
        """Count a step: its seconds as the host sees them, and those of them in which this process waited for data."""
        self._bar.update(self._task, completed=step)
        self.steps, self.seconds, self.waited = self.steps + 1, self.seconds + seconds, self.waited + waited

    def figures(self) -> Row:
        """Return speed without validation, the part of the time spent waiting for data, and memory; start anew."""
        figures = {}
        if self.seconds:
            figures["speed/images_per_s"] = self.steps * self.run.images_per_step / self.seconds
            figures["speed/data_wait"] = self.waited / self.seconds
        if (peak := peak_memory(self.run.fabric.device)) is not None:
            figures["memory/peak_gib"] = peak / 2**30
        self.steps, self.seconds, self.waited = 0, 0.0, 0.0
        return figures

    def scalars(self, values: dict[str, Any], step: int) -> None:
        """Hand values to TensorBoard and Weights & Biases."""
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, step)

    @rank_zero_only
    def row(self, rows: list[Row]) -> None:
        """Report the last of the rows: in `metrics.csv`, which is written whole, to the loggers and as a line."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.run.folder / "metrics.csv", text.getvalue())
        self.scalars(rows[-1], int(rows[-1]["step"]))
        print(self._line(rows[-1]), flush=True)

    def _line(self, row: Row) -> str:
        """Write a row for people, what matters most first, as there is room."""
        run, step = self.run, int(row["step"])
        left = (time.perf_counter() - self._began) / max(step - self._first, 1) * (run.total_steps - step)
        family = run.task.best_metric.replace("/", "_").rpartition("_")[2]  # such as all "..._ap"
        parts = [
            f"epoch {row['epoch']}/{run.config.epochs}" if run.config.epochs else f"step {step}/{run.total_steps}",
            *([f"loss {row['train/loss']:.4f}"] if "train/loss" in row else []),
            f"{timedelta(seconds=round(left))} left",
            *(f"{name.removeprefix('val/')} {row[name]:.4f}" for name in row if name.endswith(family)),
            f"lr {row['lr']:.1e}",
            *([f"{row['speed/images_per_s']:.3g} images/s"] if "speed/images_per_s" in row else []),
        ]
        while len("  ".join(parts)) > _COLUMNS:
            parts.pop()
        return "  ".join(parts)


def _logger(name: str, run: Any) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(run.folder, name="", version="", purge_step=run.step or None)
    try:
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=run.folder.name, save_dir=run.folder, project="gpvit")
    except ModuleNotFoundError as error:
        raise UserError("loggers: wandb is not installed; pip install gpvit[wandb], or leave it out") from error
