"""Tables for the terminal: what a model predicts for one image."""

from typing import Any

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpvit.inference.batch import Plan
from gpvit.inference.predictor import AnyResult
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult

_BAR_COLUMNS = 20


def heading(facts: dict[str, Any]) -> Text:
    """Name an image, its id in a COCO file, and the files written for it."""
    text = Text(facts["source"], style="bold")
    if "image_id" in facts:
        text.append(f", image {facts['image_id']}", style="not bold dim")
    if files := [facts[kind] for kind in ("overlay", "labels") if kind in facts]:
        text.append(f" -> {', '.join(files)}", style="not bold dim")
    return text


def table(result: AnyResult, plan: Plan) -> Table:
    """Lay out classes with a bar for their probability, their share of the image or their best score."""
    if isinstance(result, ClassificationResult):
        rows = [(f"{p:6.1%}", p, name, f"({index})") for name, index, p in result.top(plan.top)]
    elif isinstance(result, DetectionResult):
        rows = [
            (f"{best:6.2f}", best, name, f"({label}), {number} object{'s' * (number != 1)}")
            for name, label, number, best in result.counts()
        ]
    else:
        rows = [(f"{share:6.1%}", share, name, f"({i}), {pixels} pixels") for name, i, pixels, share in result.areas()]
    laid_out = Table(box=None, show_header=False, pad_edge=False)
    for figure, share, name, note in rows:
        note = note.removeprefix(f"({name})").removeprefix(", ")  # of classes without names
        laid_out.add_row(figure, ProgressBar(1, share, width=_BAR_COLUMNS), Text(name), Text(note, style="dim"))
    if not rows:
        laid_out.add_row(Text(f"nothing of score {plan.score:g} or more", style="dim"))
    return laid_out
