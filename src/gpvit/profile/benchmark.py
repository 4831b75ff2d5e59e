"""Time and memory of models side by side.

Every round times every case once, so that a busy machine slows all of them alike; what counts is the ratio.
"""

import csv
import io
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table

from gpvit.devices import Machine, describe_machine
from gpvit.errors import UserError
from gpvit.profile.measurement import CaseRun, Measurement
from gpvit.profile.workload import Case, check, format_size


@dataclass(frozen=True)
class Report:
    """A finished benchmark.

    Args:
        machine: Where it was run.
        rounds: Timed steps of each case.
        warmup: Steps of each case before the first round.
        measurements: One for each case, in the order given.
        patience: Seconds after which a case was not run again, or None.
    """

    machine: Machine
    rounds: int
    warmup: int
    measurements: tuple[Measurement, ...]
    patience: float | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat record for each case, with its ratios to its baseline; None stands for no value."""
        by_case = {measurement.case: measurement for measurement in self.measurements}
        rows = []
        for measurement in self.measurements:
            case = measurement.case
            base = None if case.baseline is None else by_case[replace(case, model=case.baseline)]
            rows.append(
                {
                    **asdict(case),
                    "size": format_size(case.size),
                    "out_of_memory": measurement.out_of_memory,
                    "median_ms": measurement.median_ms,
                    "iqr_ms": measurement.iqr_ms,
                    "runs": measurement.runs,
                    "images_per_second": measurement.images_per_second,
                    "memory_mib": measurement.memory_mib,
                    "time_ratio": _ratio("median_ms", measurement, base),
                    "memory_ratio": _ratio("memory_mib", measurement, base),
                }
            )
        return rows

    def __rich__(self) -> Group:
        """Return what `rich` prints: one table for each setting, with the machine above."""
        tables: dict[str, Table] = {}
        for measurement, row in zip(self.measurements, self.rows(), strict=True):
            table = tables.setdefault(measurement.case.setting, _empty_table(measurement.case.setting))
            table.add_row(
                measurement.case.model,
                "out of memory" if measurement.out_of_memory else _text(measurement.median_ms, 1),
                _text(measurement.iqr_ms, 1),
                _text(measurement.images_per_second, 1),
                _text(measurement.memory_mib, 0),
                _text(row["time_ratio"], 2),
                _text(row["memory_ratio"], 2),
            )
        note = (
            f"Median and interquartile range (IQR) of {self.rounds} interleaved rounds after {self.warmup} warm-up "
            "steps; memory is the peak over the idle process; x is the multiple of the baseline."
        )
        return Group(str(self.machine), *tables.values(), note, *filter(None, [self.impatience]))

    @property
    def impatience(self) -> str:
        """A sentence on what patience did; empty if every case took part in all rounds."""
        if not any(each.unwarmed or 0 < each.runs < self.rounds for each in self.measurements):
            return ""
        return (
            f"What took longer than {self.patience:g} s in all, the step of the fresh process and the warm-up among it,"
            " was not run again; without a timed step by then, the last of those before stands for it, as one run."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return machine, settings, rows and every single duration as plain data for JSON."""
        rows = [
            {**row, "seconds": list(measurement.seconds), "memory": measurement.memory and asdict(measurement.memory)}
            for row, measurement in zip(self.rows(), self.measurements, strict=True)
        ]
        return {"machine": asdict(self.machine), **self._settings, "rows": rows}

    @property
    def _settings(self) -> dict[str, Any]:
        return {"rounds": self.rounds, "warmup": self.warmup, "patience": self.patience}

    def write(self, directory: str | Path) -> list[Path]:
        """Write `benchmark.csv` and `benchmark.json`, replacing those of an earlier run, and return their paths.

        Args:
            directory: Folder to write into; made if absent.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        run = {**self._settings, **asdict(self.machine)}
        records = [row | run for row in self.rows()]
        table = io.StringIO()
        writer = csv.DictWriter(table, records[0])
        writer.writeheader()
        writer.writerows(records)
        texts = {"benchmark.csv": table.getvalue(), "benchmark.json": json.dumps(self.to_dict(), indent=1) + "\n"}
        for name, text in texts.items():
            unfinished = directory / f".{name}.{os.getpid()}"
            unfinished.write_text(text, newline="")
            unfinished.replace(directory / name)
        return [directory / name for name in texts]


def benchmark(
    cases: Iterable[Case],
    rounds: int = 10,
    warmup: int = 2,
    memory: bool = True,
    progress: bool = False,
    patience: float | None = None,
) -> Report:
    """Measure cases side by side; to run out of memory is a result like any other.

    Args:
        cases: What to measure; a case given twice is measured once.
        rounds: How often each case is timed.
        warmup: Untimed steps of each case beforehand; compilation happens in the first.
        memory: Whether to measure peak memory, which takes a fresh process for each case.
        progress: Whether to show a progress bar on standard error.
        patience: Seconds; a case is not run again once its steps, those of the fresh process and of the warm-up among
            them, have taken this long, so that one step of a very slow case is enough. None runs all of them.

    Raises:
        ValueError: If there are no cases, a baseline is not among them, or a model or device does not exist.
        FileNotFoundError: If a case is compiled and there is no compiler.
    """
    cases = list(dict.fromkeys(cases))
    _check(cases, rounds, warmup, patience)
    runs = [CaseRun(case, float("inf") if patience is None else patience) for case in cases]
    # The default allows one architecture eight compiled shapes and then runs it uncompiled.
    limit = torch._dynamo.config.patch(recompile_limit=8 + len(cases))
    with limit, Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=len(cases) * (1 + rounds))
        for run in runs:
            bar.update(task, description=f"{run.case}: warm-up")
            run.prepare(warmup, memory)
            bar.advance(task)
        for _ in range(rounds):
            for run in runs:
                bar.update(task, description=str(run.case))
                run.time()
                bar.advance(task)
        for run in runs:
            run.set_aside()
        for run in runs:
            if run.out_of_memory and run.memory is not None:  # it fits alone, and did not beside the others
                bar.update(task, description=f"{run.case}: alone")
                run.retry(warmup, rounds)
    return Report(describe_machine(), rounds, warmup, tuple(run.result() for run in runs), patience)


def _check(cases: list[Case], rounds: int, warmup: int, patience: float | None) -> None:
    if not cases:
        raise UserError("there is nothing to measure; give at least one case")
    if rounds < 1 or warmup < 0:
        raise UserError(f"rounds is {rounds} and warmup {warmup}; they must be at least 1 and 0")
    if patience is not None and not patience > 0:
        raise UserError(f"patience is {patience}; give a positive number of seconds, or None to run every round")
    for case in cases:
        check(case)
        if case.baseline is not None and replace(case, model=case.baseline) not in cases:
            raise UserError(f"baseline {case.baseline!r} is not measured with {case}; add it to the models")


def _ratio(name: str, measurement: Measurement, base: Measurement | None) -> float | None:
    value, reference = (getattr(each, name, None) for each in (measurement, base))
    return value / reference if value is not None and reference else None


def _empty_table(title: str) -> Table:
    table = Table("model", title=title, title_justify="left")
    for header in ("ms", "IQR", "images/s", "MiB", "x time", "x memory"):
        table.add_column(header, justify="right")
    return table


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _pair(model: str, baseline: str, **setting: Any) -> list[Case]:
    return [Case(name, baseline=baseline, **setting) for name in (model, baseline)]


SUITES: dict[str, list[Case]] = {
    "field": [
        *_pair("gpvit_l1", "vit_small_patch16_224"),
        *_pair("gpvit_l1", "vit_small_patch16_224", compiled=True),
        *_pair("gpvit_l1", "resnet50", size=(800, 1280), batch_size=1, features=True),
        *_pair("gpvit_l1", "resnet50", mode="train"),
    ],
}
"""Benchmarks by name; `field` sets GPViT-L1 against the field's usual backbones."""
