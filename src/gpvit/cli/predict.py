"""The verb `gpvit predict`."""

import json as json_format
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpvit.cli import CommandError
from gpvit.cli.labelling import labelling_method
from gpvit.data.images import ImageSource, list_images
from gpvit.inference.figures import picture_names
from gpvit.inference.model import task_of
from gpvit.inference.predictor import Predictor
from gpvit.inference.result import ClassificationResult
from gpvit.inference.segmentation_result import SegmentationResult
from gpvit.models.devices import choose_device
from gpvit.models.opening import is_untrained, open_model

AnyResult = ClassificationResult | SegmentationResult

_BAR_COLUMNS = 20
_TOP = 5
_PICTURE, _LABELS = "_predicted", "_labels"


def predict(
    model: str,
    images: list[str],
    weights: str | None = None,
    top: int | None = None,
    batch_size: int | None = None,
    window: int | None = None,
    overlap: float | None = None,
    scales: str | None = None,
    flip: bool = False,
    device: str | None = None,
    json: bool = False,
    out: str | None = None,
) -> None:
    """Classify or segment images: the most probable classes of each, or how much of it each class covers.

    Args:
        model: Name of a model, as gpvit_l1.in1k or upernet_gpvit_l1.ade20k, or path of a checkpoint.
        images: Files, folders and patterns such as 'photos/*.jpg'.
        weights: Tag or file of the weights, for a name without tag.
        top: Of a classifier, the number of classes to print; 5 if left out.
        batch_size: Of a classifier, the images that go through the model at once; 16 if left out.
        window: Of a segmenter, the side in pixels of windows that slide over the image at its own size, for images
            too large for memory.
        overlap: Part of a window's side that its neighbour sees as well; a third if left out.
        scales: Of a segmenter, factors of the image's size to average over, as 0.5,1.0,1.5.
        flip: Of a segmenter, average over the image and its mirror image.
        device: Where to compute, such as cpu or cuda; chosen for you if left out.
        json: Print one line of JSON for each image in place of tables.
        out: Folder for annotated pictures and, of a segmenter, the labels as index PNGs.
    """
    if top is not None and top < 1:
        raise ValueError(f"top is {top}; give 1 or more")
    paths = list_images(images)
    network = open_model(model, weights).to(choose_device(device))
    if task_of(network) == "segmentation":
        _refuse("segments", top=top, batch_size=batch_size)
        predictor = Predictor(network, method=labelling_method(window, overlap, flip, scales))
    else:
        _refuse("classifies", window=window, overlap=overlap, scales=scales, flip=flip or None)
        predictor = Predictor(network, batch_size=batch_size)
    if is_untrained(model, weights):
        print("no weights: predictions are arbitrary", file=sys.stderr)
    top = top or _TOP
    unreadable: list[ImageSource] = []

    def report(source: ImageSource, error: Exception) -> None:
        unreadable.append(source)
        print(f"gpvit predict: {error}", file=sys.stderr)

    files = {suffix: dict(zip(paths, picture_names(paths, suffix), strict=True)) for suffix in (_PICTURE, _LABELS)}
    console = Console()
    for result in predictor.stream(paths, on_error=report):
        written = {}
        if out is not None:
            picture, labels = (Path(out) / files[suffix][result.source] for suffix in (_PICTURE, _LABELS))
            written = _write(result, picture, labels, top)
        if json:
            print(json_format.dumps({**_facts(result, top), **written}, ensure_ascii=False), flush=True)
        else:
            console.print(_heading(result, written), soft_wrap=True)  # a path stays whole
            console.print(_table(result, top))
    if unreadable:
        raise CommandError(f"{len(unreadable)} of {len(paths)} images could not be read")


def _refuse(verb: str, **options: object) -> None:
    """Refuse options, where any is given, that the model's task has no use for."""
    if given := {name: value for name, value in options.items() if value is not None}:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"the model {verb} images, which {names} does not apply to; leave it out")


def _write(result: AnyResult, picture: Path, labels: Path, top: int) -> dict[str, str]:
    """Write what a result shows, and return the files."""
    if isinstance(result, ClassificationResult):
        result.save(picture, top)
        return {"picture": str(picture)}
    result.save(picture)
    result.save_labels(labels)
    return {"picture": str(picture), "labels": str(labels)}


def _facts(result: AnyResult, top: int) -> dict[str, Any]:
    return result.to_dict(top) if isinstance(result, ClassificationResult) else result.to_dict()


def _heading(result: AnyResult, written: dict[str, str]) -> Text:
    heading = Text(str(result.source), style="bold")
    if written:
        heading.append(f" -> {', '.join(written.values())}", style="not bold dim")
    return heading


def _table(result: AnyResult, top: int) -> Table:
    """Lay out the most probable classes, or the areas of all classes in the image, with a bar for each."""
    table = Table(box=None, show_header=False, pad_edge=False)
    if isinstance(result, ClassificationResult):
        for name, index, probability in result.top(top):
            table.add_row(f"{probability:6.1%}", _bar(probability), Text(name), Text(f"({index})", style="dim"))
    else:
        for name, index, pixels, share in result.areas():
            note = Text(f"({index}), {pixels} pixels", style="dim")
            table.add_row(f"{share:6.1%}", _bar(share), Text(name), note)
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(1, share, width=_BAR_COLUMNS)
