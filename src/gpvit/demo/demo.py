"""The demo: train a small GPViT to read, to label and to find digits, and write a page about it."""

import json
import os
import shlex
from pathlib import Path

from gpvit.demo.experiments.detection import run_detection
from gpvit.demo.experiments.digits import run_digits
from gpvit.demo.experiments.run import remove_runs
from gpvit.demo.experiments.segmentation import run_segmentation
from gpvit.demo.page.parts import Chapter
from gpvit.demo.page.writing import render, write_page
from gpvit.demo.results import DemoResults
from gpvit.demo.sections import cost, detection, groups, learning, overview, segmentation, setting

_TITLE = "A small GPViT reads, labels and finds"
_LEAD = "What it learned, how well, where its group tokens look, and what it costs, on the machine it ran on."


def run_demo(out: str | Path, seed: int = 0, quick: bool = False) -> Path:
    """Train, measure and write the report; an earlier demo in the same folder is replaced.

    Args:
        out: Folder for the report, the figures as JSON, and the runs with their weights and logs.
        seed: Of all that is random.
        quick: Train hardly at all, to see what the report looks like.

    Returns:
        The report's path.

    Raises:
        ValueError: If the folder of a run holds what is not an earlier demo's.
    """
    out = Path(out)
    command = shlex.join(["gpvit", "demo", "--out", str(out), "--seed", str(seed), *(["--quick"] if quick else [])])
    # `run` is the reader's: README's group pictures are of its weights.
    folders = [out / name for name in ("run", "segmentation", "detection")]
    remove_runs(folders)
    print("1 of 3: reading the handwritten digits that come with scikit-learn", flush=True)
    digits = run_digits(folders[0], seed, quick)
    print("2 of 3: labelling every pixel of scenes with such digits", flush=True)
    labelling = run_segmentation(folders[1], seed, quick)
    print("3 of 3: finding each digit in such scenes", flush=True)
    finding = run_detection(folders[2], labelling.run.weights, seed, quick)
    return write_report(DemoResults(command, digits, labelling, finding), out)


def chapters(results: DemoResults) -> list[Chapter]:
    """Write the report's chapters, in reading order."""
    digits, labelling, finding = results.digits, results.segmentation, results.detection
    reading_sections = (learning.summary, learning.data, learning.curves, learning.confusion, learning.examples)
    labelling_sections = (
        segmentation.summary,
        segmentation.data,
        segmentation.curves,
        segmentation.examples,
        segmentation.classes,
        segmentation.large,
    )
    finding_sections = (detection.summary, detection.curves, detection.examples, detection.classes)
    group_sections = (groups.explanation, groups.digits, groups.photographs)
    return [
        Chapter("glance", "At a glance", [overview.overview(results)]),
        Chapter("reading", "Reading one digit", [section(digits) for section in reading_sections]),
        Chapter("labelling", "Labelling every pixel", [section(labelling) for section in labelling_sections]),
        Chapter("finding", "Finding every digit", [section(finding) for section in finding_sections]),
        Chapter("inside", "Inside the reader: group tokens", [section(digits) for section in group_sections]),
        Chapter("price", "What it costs", [cost.parts(digits), cost.speed(digits)]),
        Chapter("next", "Your turn", [setting.setting(results), setting.further(results)]),
    ]


def write_report(results: DemoResults, out: Path) -> Path:
    """Write `report.html` and `metrics.json`.

    Args:
        results: What to report of.
        out: Folder to write into.

    Returns:
        The report's path.
    """
    figures = out / ".metrics.json"
    figures.write_text(json.dumps(results.to_dict(), indent=1) + "\n", encoding="utf-8")
    os.replace(figures, out / "metrics.json")
    report = out / "report.html"
    footer = f"Written by {results.command}, gpvit {results.digits.speed.machine.gpvit}."
    write_page(render(_TITLE, _LEAD, chapters(results), footer), report)
    return report
