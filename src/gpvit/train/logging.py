"""What a run says of itself: lines, a progress bar, `metrics.csv`, TensorBoard and Weights & Biases."""

import csv
import io
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.fabric.loggers import Logger, TensorBoardLogger
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpvit.errors import UserError
from gpvit.io import write_text

_COLUMNS = 80
Row = dict[str, float]
"""What is known after an epoch or a validation: `epoch`, `step`, `lr`, `train/...`, `val/...`, speed and memory."""


class RunLog:
    """Writes what the first process of a run reports; in the others it does nothing.

    Args:
        folder: The run folder.
        active: Whether this is the first process.
        loggers: Beside `metrics.csv`: `tensorboard`, `wandb`.
        best_metric: Its family, such as all `..._ap`, stands in the line of an epoch.
        step: Optimiser steps taken before.
        total: Optimiser steps of the whole run.
    """

    def __init__(
        self, folder: Path, active: bool, loggers: tuple[str, ...], best_metric: str, step: int, total: int
    ) -> None:
        self.folder = folder
        self.active = active
        self.family = best_metric.replace("/", "_").rpartition("_")[2]
        self.loggers = [_logger(name, folder, step) for name in loggers] if active else []
        self.speed = Speed()
        self._first, self._begun, self._total = step, time.perf_counter(), total
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        shown = active and sys.stdout.isatty()
        self.bar = Progress(*columns, transient=True, disable=not shown, refresh_per_second=4)
        self._task = self.bar.add_task("training", total=total, completed=step)

    def __enter__(self) -> "RunLog":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        for logger in self.loggers:
            logger.finalize("finished")

    def print(self, line: str) -> None:
        """Print a line, above the bar."""
        if self.active:
            print(line, flush=True)

    def advance(self, step: int, doing: str = "training") -> None:
        """Move the bar to a step."""
        self.bar.update(self._task, completed=step, description=doing)

    def scalars(self, values: dict[str, float], step: int) -> None:
        """Hand values to TensorBoard and Weights & Biases."""
        for logger in self.loggers:
            logger.log_metrics(values, step)

    def row(self, rows: list[Row], position: str) -> None:
        """Report the last of the rows: in `metrics.csv`, which is written whole, to the loggers and as a line.

        Args:
            rows: Of the whole run.
            position: How far it is, such as `epoch 3/12`.
        """
        if not self.active:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.folder / "metrics.csv", text.getvalue())
        self.scalars(rows[-1], int(rows[-1]["step"]))
        self.print(self._line(rows[-1], position))

    def _line(self, row: Row, position: str) -> str:
        """Write a row for people, within 80 columns: scores of the best metric's family, as many as there is room."""
        scores = {name.partition("/")[2]: value for name, value in row.items() if name.startswith("val/")}
        shown = [f"{name} {value:.4f}" for name, value in scores.items() if name.rpartition("_")[2] == self.family]
        start = [position] + ([f"loss {row['train/loss']:.4f}"] if "train/loss" in row else [])
        done = max(int(row["step"]) - self._first, 1)
        left = (time.perf_counter() - self._begun) / done * (self._total - int(row["step"]))
        end = [f"lr {row['lr']:.1e}", f"{timedelta(seconds=round(left))} left"]
        if "speed/images_per_s" in row:
            end.append(f"{row['speed/images_per_s']:.3g} images/s")
        while len("  ".join([*start, *shown, *end])) > _COLUMNS:
            (end if len(end) > 2 else shown).pop()
        return "  ".join([*start, *shown, *end])


class Speed:
    """Counts images and seconds from one row to the next, without validation."""

    def __init__(self) -> None:
        self.images, self.seconds, self.waited = 0, 0.0, 0.0

    def add(self, images: int, seconds: float, waited: float) -> None:
        """Count a step: images of all processes, its seconds, and those in which this process waited for data."""
        self.images, self.seconds, self.waited = self.images + images, self.seconds + seconds, self.waited + waited

    def take(self) -> dict[str, float]:
        """Return images a second and the part of the time spent waiting for data, and start anew."""
        figures = {}
        if self.seconds:
            figures = {"speed/images_per_s": self.images / self.seconds, "speed/data_wait": self.waited / self.seconds}
        self.__init__()  # type: ignore[misc]
        return figures


def _logger(name: str, folder: Path, step: int) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="", purge_step=step or None)
    try:
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=folder.name, save_dir=folder, project="gpvit")
    except ModuleNotFoundError as error:
        raise UserError("loggers: wandb is not installed; pip install gpvit[wandb], or leave it out") from error
