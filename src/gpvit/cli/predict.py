"""The verb `gpvit predict`."""

import json as json_format
import sys
from pathlib import Path

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpvit.cli import CommandError
from gpvit.data.images import ImageSource, list_images
from gpvit.inference.figures import picture_names
from gpvit.inference.predictor import Predictor
from gpvit.inference.result import ClassificationResult
from gpvit.models.devices import choose_device
from gpvit.models.opening import is_untrained, open_model

_BAR_COLUMNS = 20


def predict(
    model: str,
    images: list[str],
    weights: str | None = None,
    top: int = 5,
    device: str | None = None,
    batch_size: int = 16,
    json: bool = False,
    out: str | None = None,
) -> None:
    """Classify images: the most probable classes of each.

    Args:
        model: Name of a model, as gpvit_l1.in1k, or path of a checkpoint.
        images: Files, folders and patterns such as 'photos/*.jpg'.
        weights: Tag or file of the weights, for a name without tag.
        top: Number of classes.
        device: Where to compute, such as cpu or cuda; chosen for you if left out.
        batch_size: Images that go through the model at once.
        json: Print one line of JSON for each image in place of tables.
        out: Folder for annotated pictures.
    """
    if top < 1:
        raise ValueError(f"top is {top}; give 1 or more")
    paths = list_images(images)
    pictures = dict(zip(paths, picture_names(paths, "_predicted"), strict=True))
    predictor = Predictor(open_model(model, weights).to(choose_device(device)), batch_size=batch_size)
    if is_untrained(model, weights):
        print("no weights: predictions are arbitrary", file=sys.stderr)
    unreadable: list[ImageSource] = []

    def report(source: ImageSource, error: Exception) -> None:
        unreadable.append(source)
        print(f"gpvit predict: {error}", file=sys.stderr)

    console = Console()
    for result in predictor.stream(paths, on_error=report):
        facts = result.to_dict(top)
        if out is not None:
            facts["picture"] = str(Path(out) / pictures[Path(facts["source"])])
            result.save(facts["picture"], top)
        if json:
            print(json_format.dumps(facts, ensure_ascii=False), flush=True)
        else:
            console.print(_heading(result, facts.get("picture")), soft_wrap=True)  # a path stays whole
            console.print(_table(result, top))
    if unreadable:
        raise CommandError(f"{len(unreadable)} of {len(paths)} images could not be read")


def _heading(result: ClassificationResult, picture: str | None) -> Text:
    heading = Text(str(result.source), style="bold")
    if picture is not None:
        heading.append(f" -> {picture}", style="not bold dim")
    return heading


def _table(result: ClassificationResult, top: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, index, probability in result.top(top):
        bar = ProgressBar(1, probability, width=_BAR_COLUMNS)
        table.add_row(f"{probability:6.1%}", bar, Text(name), Text(f"({index})", style="dim"))
    return table
