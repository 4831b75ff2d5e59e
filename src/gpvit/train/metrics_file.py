"""`metrics.csv` of a run that may go on."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class MetricsFile(CSVLogger):
    """Writes `metrics.csv`, and goes on with the one that is there where Lightning's would remove it.

    Args:
        folder: Where the file is.
        keep: Whether what it holds is kept, until `cut` says how much of it; otherwise the file starts anew.
    """

    def __init__(self, folder: str | Path, keep: bool = False) -> None:
        super().__init__(folder, name="", version="")
        self.path = Path(folder) / "metrics.csv"
        self.keep = keep

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the file."""
        if self._experiment is None and self.keep and self.path.is_file():
            aside = self.path.with_name(f".{self.path.name}.kept")
            os.replace(self.path, aside)
            writer: Any = super().experiment
            os.replace(aside, self.path)
            writer.metrics_keys = _read(self.path)[0]
        return super().experiment

    def rows(self) -> int:
        """Count the rows, of headings apart, after all that was logged is written."""
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return 0
        self.save()
        return len(_read(self.path)[1]) if self.path.is_file() else 0

    @rank_zero_only
    def cut(self, count: int, steps: int) -> None:
        """Remove what was logged after a checkpoint that the run goes on from.

        Args:
            count: How many rows stay.
            steps: Of the rows after these, those of steps below this number stay as well.
        """
        if not self.keep or not self.path.is_file():
            return
        names, rows = _read(self.path)
        kept = rows[:count] + [row for row in rows[count:] if int(row["step"]) < steps]
        temporary = self.path.with_name(f".{self.path.name}")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(temporary, self.path)


def _read(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if (row.get("step") or "").isdigit()]  # the last may be torn
        return list(reader.fieldnames or []), rows
