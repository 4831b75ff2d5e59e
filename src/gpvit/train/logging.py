"""What a run says of itself: lines, a progress bar, `metrics.csv`, TensorBoard and Weights & Biases."""

import csv
import io
import sys
import time
from datetime import timedelta
from typing import Any

from lightning.fabric.loggers import Logger, TensorBoardLogger
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
    """Writes what the first process of a run reports; in the others it only counts.

    Args:
        run: A `gpvit.train.loop.Run`, ready to start.
        loggers: Beside `metrics.csv`: `tensorboard`, `wandb`.
    """

    def __init__(self, run: Any, loggers: tuple[str, ...]) -> None:
        self.run = run
        self.active = run.fabric.is_global_zero
        self.loggers = [_logger(name, run) for name in loggers] if self.active else []
        self.images, self.seconds, self.waited = 0, 0.0, 0.0
        self._first, self._began = run.step, time.perf_counter()
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        is_shown = self.active and sys.stdout.isatty()
        self._bar = Progress(*columns, transient=True, disable=not is_shown, refresh_per_second=4)
        self._task = self._bar.add_task("step", total=run.total_steps, completed=run.step)
        parameters = sum(parameter.numel() for parameter in run.task.network.parameters())
        self.print(
            f"run folder {run.folder}\n{parameters / 1e6:.2f} M parameters on {run.fabric.world_size} x "
            f"{run.fabric.device.type}, {run.images_per_step} images a step, {run.total_steps:,} steps"
        )

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        for logger in self.loggers:
            logger.finalize("finished")

    def print(self, line: str) -> None:
        """Print a line, above the bar."""
        if self.active:
            print(line, flush=True)

    def advance(self, step: int, images: int, seconds: float, waited: float) -> None:
        """Count a step.

        Args:
            step: Steps taken.
            images: Of all processes.
            seconds: From its beginning to its end, as the host sees it.
            waited: Those of them in which this process waited for its data.
        """
        self._bar.update(self._task, completed=step)
        self.images, self.seconds, self.waited = self.images + images, self.seconds + seconds, self.waited + waited

    def figures(self) -> Row:
        """Return speed without validation, the part of the time spent waiting for data, and memory; start anew."""
        figures = {}
        if self.seconds:
            figures = {"speed/images_per_s": self.images / self.seconds, "speed/data_wait": self.waited / self.seconds}
        if (peak := peak_memory(self.run.fabric.device)) is not None:
            figures["memory/peak_gib"] = peak / 2**30
        self.images, self.seconds, self.waited = 0, 0.0, 0.0
        return figures

    def scalars(self, values: dict[str, Any], step: int) -> None:
        """Hand values to TensorBoard and Weights & Biases."""
        for logger in self.loggers:
            logger.log_metrics({name: float(value) for name, value in values.items()}, step)

    def row(self, rows: list[Row]) -> None:
        """Report the last of the rows: in `metrics.csv`, which is written whole, to the loggers and as a line."""
        if not self.active:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.run.folder / "metrics.csv", text.getvalue())
        self.scalars(rows[-1], int(rows[-1]["step"]))
        self.print(self._line(rows[-1]))

    def _line(self, row: Row) -> str:
        """Write a row for people, within 80 columns: scores of the best metric's family, as there is room."""
        run, step = self.run, int(row["step"])
        place = f"epoch {row['epoch']}/{run.config.epochs}" if run.config.epochs else f"step {step}/{run.total_steps}"
        start = [place] + ([f"loss {row['train/loss']:.4f}"] if "train/loss" in row else [])
        family = run.task.best_metric.replace("/", "_").rpartition("_")[2]  # such as all "..._ap"
        scores = {name.partition("/")[2]: value for name, value in row.items() if name.startswith("val/")}
        shown = [f"{name} {value:.4f}" for name, value in scores.items() if name.rpartition("_")[2] == family]
        pace = (time.perf_counter() - self._began) / max(step - self._first, 1)
        end = [f"lr {row['lr']:.1e}", f"{timedelta(seconds=round(pace * (run.total_steps - step)))} left"]
        if "speed/images_per_s" in row:
            end.append(f"{row['speed/images_per_s']:.3g} images/s")
        while len("  ".join([*start, *shown, *end])) > _COLUMNS and shown:
            (end if len(end) > 2 else shown).pop()
        return "  ".join([*start, *shown, *end])


def _logger(name: str, run: Any) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(run.folder, name="", version="", purge_step=run.step or None)
    try:
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=run.folder.name, save_dir=run.folder, project="gpvit")
    except ModuleNotFoundError as error:
        raise UserError("loggers: wandb is not installed; pip install gpvit[wandb], or leave it out") from error
