"""The demo: train a small GPViT on real digits, look at it from all sides, write a page about it."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from gpvit.app.experiment import Experiment, run_experiment
from gpvit.app.page.parts import Section
from gpvit.app.page.writing import render, write_page
from gpvit.app.sections import cost, groups, learning, setting

SECTIONS: tuple[Callable[[Experiment], Section], ...] = (
    learning.summary,
    learning.data,
    learning.curves,
    learning.confusion,
    learning.examples,
    groups.explanation,
    groups.digits,
    groups.photographs,
    cost.parts,
    cost.speed,
    setting.setting,
    setting.further,
)
"""The report, in reading order."""

_TITLE = "A small GPViT learns to read digits"
_LEAD = "What it learned, how sure it is, where its group tokens look, and what it costs, on the machine it ran on."


def run_demo(out: str | Path, seed: int = 0, quick: bool = False) -> Path:
    """Train, measure and write the report; an earlier demo in the same folder is replaced.

    Args:
        out: Folder for the report, the figures as JSON, and the run with its weights and logs.
        seed: Of all that is random.
        quick: Train for one epoch only, to see what the report looks like.

    Returns:
        The report's path.

    Raises:
        ValueError: If the folder holds a `run` that is not an earlier demo's.
    """
    out = Path(out)
    command = shlex.join(["gpvit", "demo", "--out", str(out), "--seed", str(seed), *(["--quick"] if quick else [])])
    experiment = run_experiment(out / "run", command, seed, quick)
    return write_report(experiment, out)


def write_report(experiment: Experiment, out: Path) -> Path:
    """Write `report.html` and `metrics.json`.

    Args:
        experiment: What to report of.
        out: Folder to write into.

    Returns:
        The report's path.
    """
    figures = out / ".metrics.json"
    figures.write_text(json.dumps(experiment.to_dict(), indent=1) + "\n", encoding="utf-8")
    os.replace(figures, out / "metrics.json")
    report = out / "report.html"
    footer = f"Written by {experiment.command}, gpvit {experiment.speed.machine.gpvit}."
    write_page(render(_TITLE, _LEAD, [section(experiment) for section in SECTIONS], footer), report)
    return report
