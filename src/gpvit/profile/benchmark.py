"""Time and memory of models side by side; what counts is the ratio."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table

from gpvit.devices import Machine, describe_machine
from gpvit.errors import UserError
from gpvit.io import write_text
from gpvit.profile.measure import Measurement, measure
from gpvit.profile.workload import Case, format_size

_COLUMNS = {
    "median_ms": ("ms", ".1f"),
    "iqr_ms": ("IQR", ".1f"),
    "images_per_second": ("images/s", ".1f"),
    "memory_mib": ("MiB", ".0f"),
    "time_ratio": ("x time", ".2f"),
    "memory_ratio": ("x memory", ".2f"),
}


@dataclass(frozen=True)
class Report:
    """What was measured, for the terminal and as files, with the machine that it was measured on."""

    rows: Sequence[Mapping[str, Any]]  # None stands for no value; what is not flat goes into JSON alone
    settings: Mapping[str, Any]  # what all rows have in common
    notes: Sequence[str]  # sentences below the tables
    machine: Machine = field(default_factory=describe_machine)

    def __rich__(self) -> Group:
        """Return what `rich` prints: a table for each setting, the machine above and the notes below."""
        tables: dict[str, Table] = {}
        for row in self.rows:
            if (title := row["setting"]) not in tables:
                tables[title] = Table("model", title=title, title_justify="left")
                for heading, _ in _COLUMNS.values():
                    tables[title].add_column(heading, justify="right")
            cells = ["" if row[key] is None else format(row[key], spec) for key, (_, spec) in _COLUMNS.items()]
            if row["out_of_memory"]:
                cells[0] = "out of memory"
            tables[title].add_row(row["subject"], *cells)
        return Group(str(self.machine), *tables.values(), *filter(None, self.notes))

    def write(self, directory: str | Path) -> list[Path]:
        """Write benchmark.csv and, with what is not flat, benchmark.json, over earlier ones; return their paths."""
        common = {**self.settings, **asdict(self.machine)}
        flat = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} | common for row in self.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, flat[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
        document = {"machine": asdict(self.machine), **self.settings, "rows": [dict(row) for row in self.rows]}
        paths = [Path(directory, "benchmark.csv"), Path(directory, "benchmark.json")]
        for path, content in zip(paths, (text.getvalue(), json.dumps(document, indent=1) + "\n"), strict=True):
            write_text(path, content)
        return paths


def benchmark(
    cases: Iterable[Case],
    rounds: int = 10,
    warmup: int = 2,
    memory: bool = True,
    progress: bool = False,
    time_limit_s: float | None = None,
) -> Report:
    """Measure cases side by side, one given twice once; to run out of memory is a result like any other.

    A case is not run again once its steps, those of the warm-up and of the fresh process that tells its memory among
    them, have taken `time_limit_s`, so that one step of a very slow case is enough.
    """
    cases = list(dict.fromkeys(cases))
    if not cases:
        raise UserError("there is nothing to measure; give at least one case")
    if rounds < 1 or warmup < 0:
        raise UserError(f"rounds is {rounds} and warmup {warmup}; they must be at least 1 and 0")
    for case in cases:
        case.check()
        if case.baseline is not None and replace(case, model=case.baseline) not in cases:
            raise UserError(f"baseline {case.baseline!r} is not measured with {case}; add it to the models")
    runs = [Measurement(case, warmup, time_limit_s or math.inf) for case in cases]
    measure(runs, rounds, memory, progress)
    notes = [
        f"Median and interquartile range (IQR) of {rounds} interleaved rounds after {warmup} warm-up "
        "steps; memory is the peak over the idle process; x is the multiple of the baseline.",
        "Models of this package run as a Predictor runs them, prepared." if any(c.runs_prepared for c in cases) else "",
        limit_note(runs, rounds),
    ]
    settings = {"rounds": rounds, "warmup": warmup, "time_limit_s": time_limit_s}
    return Report(_rows(runs), settings, notes)


def limit_note(runs: Iterable[Measurement], rounds: int) -> str:
    """Say what the time limit did; nothing if every case took part in all rounds."""
    for run in runs:
        if not run.out_of_memory and len(run.durations) < run.warmup + rounds:
            return (
                f"What took longer than {run.time_limit_s:g} s in all, the step of the fresh process and the warm-up"
                " among it, was not run again; without a timed step by then, the last of those before stands for it,"
                " as one run."
            )
    return ""


def _rows(runs: list[Measurement]) -> list[dict[str, Any]]:
    rows: dict[Case, dict[str, Any]] = {}
    for run in runs:
        seconds = run.seconds
        median = float(np.median(seconds)) if seconds else None
        rows[run.case] = asdict(run.case) | {
            "size": format_size(run.case.size),
            "setting": run.case.setting,
            "subject": run.case.subject,
            "out_of_memory": run.out_of_memory,
            "median_ms": median and 1e3 * median,
            "iqr_ms": 1e3 * float(np.subtract(*np.percentile(seconds, [75, 25]))) if len(seconds) > 1 else None,
            "runs": len(seconds),
            "images_per_second": median and run.case.batch_size / median,
            "memory_mib": run.memory.added_mib if run.memory else None,
            "seconds": seconds,
            "memory": asdict(run.memory) if run.memory else {},
        }
    for case, row in rows.items():
        base = rows[replace(case, model=case.baseline)] if case.baseline else {}
        for ratio, key in (("time_ratio", "median_ms"), ("memory_ratio", "memory_mib")):
            row[ratio] = row[key] / base[key] if row[key] is not None and base.get(key) else None
    return list(rows.values())


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
"""Benchmarks by name; `field` sets GPViT-L1 beside the field's usual backbones."""
