"""Time and memory of models side by side.

Every round times every case once, so that a busy machine slows all of them alike; what counts is the ratio.
"""

import csv
import io
import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console, Group
from rich.progress import Progress
from rich.table import Table

from gpvit.analysis.machine import Machine, describe_machine
from gpvit.analysis.memory import Memory, measure_memory
from gpvit.analysis.workload import Case, build, check, format_size

MIB = 2**20


@dataclass(frozen=True)
class Measurement:
    """What a case took.

    Args:
        case: What was run.
        seconds: Duration of a step in each round; empty if the case ran out of memory.
        memory: Memory of a process that runs the case alone, or None if it was not measured.
    """

    case: Case
    seconds: tuple[float, ...]
    memory: Memory | None

    @property
    def out_of_memory(self) -> bool:
        """Whether the case did not fit into memory."""
        return not self.seconds

    @property
    def median_ms(self) -> float | None:
        """Median duration of a step in milliseconds."""
        return None if self.out_of_memory else 1e3 * float(np.median(self.seconds))

    @property
    def iqr_ms(self) -> float | None:
        """Spread of the durations: third less first quartile, in milliseconds."""
        return None if self.out_of_memory else 1e3 * float(np.subtract(*np.percentile(self.seconds, [75, 25])))

    @property
    def images_per_second(self) -> float | None:
        """Images per second at the median duration."""
        return None if self.median_ms is None else 1e3 * self.case.batch_size / self.median_ms

    @property
    def memory_mib(self) -> float | None:
        """Peak memory over the idle process in MiB."""
        return None if self.memory is None else self.memory.over_idle / MIB


@dataclass(frozen=True)
class Report:
    """A finished benchmark.

    Args:
        machine: Where it was run.
        rounds: Timed steps of each case.
        warmup: Steps of each case before the first round.
        measurements: One for each case, in the order given.
    """

    machine: Machine
    rounds: int
    warmup: int
    measurements: tuple[Measurement, ...]

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
        return Group(str(self.machine), *tables.values(), note)

    def to_dict(self) -> dict[str, Any]:
        """Return machine, settings, rows and every single duration as plain data for JSON."""
        rows = [
            {**row, "seconds": list(measurement.seconds), "memory": measurement.memory and asdict(measurement.memory)}
            for row, measurement in zip(self.rows(), self.measurements, strict=True)
        ]
        return {"machine": asdict(self.machine), "rounds": self.rounds, "warmup": self.warmup, "rows": rows}

    def write(self, directory: str | Path) -> list[Path]:
        """Write `benchmark.csv` and `benchmark.json`, replacing those of an earlier run, and return their paths.

        Args:
            directory: Folder to write into; made if absent.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        run = {"rounds": self.rounds, "warmup": self.warmup, **asdict(self.machine)}
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
    cases: Iterable[Case], rounds: int = 10, warmup: int = 2, memory: bool = True, progress: bool = False
) -> Report:
    """Measure cases side by side; to run out of memory is a result like any other.

    Args:
        cases: What to measure; a case given twice is measured once.
        rounds: How often each case is timed.
        warmup: Untimed steps of each case beforehand; compilation happens in the first.
        memory: Whether to measure peak memory, which takes a fresh process for each case.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If there are no cases, a baseline is not among them, or a model or device does not exist.
        FileNotFoundError: If a case is compiled and there is no compiler.
    """
    cases = list(dict.fromkeys(cases))
    _check(cases, rounds, warmup)
    seconds: dict[Case, list[float]] = {case: [] for case in cases}
    memories: dict[Case, Memory | None] = dict.fromkeys(cases)
    steps = {}
    # The default allows one architecture eight compiled shapes and then runs it uncompiled.
    limit = torch._dynamo.config.patch(recompile_limit=8 + len(cases))
    with limit, Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("", total=len(cases) * (1 + rounds))
        for case in cases:
            bar.update(task, description=f"{case}: warm-up")
            try:
                memories[case] = measure_memory(case) if memory else None
                steps[case] = build(case)
                for _ in range(warmup):
                    steps[case]()
            except MemoryError:
                steps.pop(case, None)
            bar.advance(task)
        for _ in range(rounds):
            for case in list(steps):
                bar.update(task, description=str(case))
                start = time.perf_counter()
                try:
                    steps[case]()
                except MemoryError:
                    del steps[case]
                    seconds[case].clear()
                    continue
                seconds[case].append(time.perf_counter() - start)
                bar.advance(task)
    measurements = tuple(Measurement(case, tuple(seconds[case]), memories[case]) for case in cases)
    return Report(describe_machine(), rounds, warmup, measurements)


def _check(cases: list[Case], rounds: int, warmup: int) -> None:
    if not cases:
        raise ValueError("there is nothing to measure; give at least one case")
    if rounds < 1 or warmup < 0:
        raise ValueError(f"rounds is {rounds} and warmup {warmup}; they must be at least 1 and 0")
    for case in cases:
        check(case)
        if case.baseline is not None and replace(case, model=case.baseline) not in cases:
            raise ValueError(f"baseline {case.baseline!r} is not measured with {case}; add it to the models")


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
