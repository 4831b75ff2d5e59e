"""Time and memory of models side by side; what counts is the ratio."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from gpvit.errors import UserError
from gpvit.profile.measure import Measurement, measure
from gpvit.profile.report import Report
from gpvit.profile.workload import Case, format_size

_COLUMNS = {
    "model": ("model", ""),
    "median_ms": ("ms", ".1f"),
    "iqr_ms": ("IQR", ".1f"),
    "images_per_second": ("images/s", ".1f"),
    "memory_mib": ("MiB", ".0f"),
    "time_ratio": ("x time", ".2f"),
    "memory_ratio": ("x memory", ".2f"),
}


def benchmark(
    cases: Iterable[Case],
    rounds: int = 10,
    warmup: int = 2,
    memory: bool = True,
    progress: bool = False,
    time_limit_s: float | None = None,
) -> Report:
    """Measure cases side by side; to run out of memory is a result like any other.

    Args:
        cases: What to measure; a case given twice is measured once.
        rounds: How often each case is timed.
        warmup: Untimed steps of each case beforehand; compilation happens in the first.
        memory: Whether to measure peak memory, which takes a fresh process for each case.
        progress: Whether to show a progress bar on standard error.
        time_limit_s: Seconds; a case is not run again once its steps, those of the fresh process and of the warm-up
            among them, have taken this long, so that one step of a very slow case is enough. None runs all of them.

    Raises:
        ValueError: If there are no cases, a baseline is not among them, or a model or device does not exist.
        FileNotFoundError: If a case is compiled and there is no compiler.
    """
    cases = list(dict.fromkeys(cases))
    if not cases:
        raise UserError("there is nothing to measure; give at least one case")
    if rounds < 1 or warmup < 0:
        raise UserError(f"rounds is {rounds} and warmup {warmup}; they must be at least 1 and 0")
    if time_limit_s is not None and not time_limit_s > 0:
        raise UserError(f"time_limit_s is {time_limit_s}; give a positive number of seconds, or None for every round")
    for case in cases:
        case.check()
        if case.baseline is not None and replace(case, model=case.baseline) not in cases:
            raise UserError(f"baseline {case.baseline!r} is not measured with {case}; add it to the models")
    runs = [Measurement(case, warmup, time_limit_s or float("inf")) for case in cases]
    measure(runs, rounds, memory, progress)
    notes = [
        f"Median and interquartile range (IQR) of {rounds} interleaved rounds after {warmup} warm-up "
        "steps; memory is the peak over the idle process; x is the multiple of the baseline.",
        limit_note(runs, rounds),
    ]
    settings = {"rounds": rounds, "warmup": warmup, "time_limit_s": time_limit_s}
    return Report(_rows(runs), _COLUMNS, settings, notes, "{setting}")


def limit_note(runs: Iterable[Measurement], rounds: int) -> str:
    """Say what the time limit did; nothing if every case took part in all rounds."""
    limits = [run.time_limit_s for run in runs if run.warmup_only or 0 < len(run.seconds) < rounds]
    return limits and (
        f"What took longer than {limits[0]:g} s in all, the step of the fresh process and the warm-up among it, was not"
        " run again; without a timed step by then, the last of those before stands for it, as one run."
    )


def _rows(runs: list[Measurement]) -> list[dict[str, Any]]:
    rows: dict[Case, dict[str, Any]] = {}
    for run in runs:
        seconds, several = run.seconds, len(run.seconds) > 1
        rows[run.case] = asdict(run.case) | {
            "size": format_size(run.case.size),
            "setting": run.case.setting,
            "out_of_memory": run.out_of_memory,
            "median_ms": 1e3 * float(np.median(seconds)) if seconds else None,
            "iqr_ms": 1e3 * float(np.subtract(*np.percentile(seconds, [75, 25]))) if several else None,
            "runs": len(seconds),
            "images_per_second": run.case.batch_size / float(np.median(seconds)) if seconds else None,
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
