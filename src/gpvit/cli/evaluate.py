"""The verb `gpvit evaluate`."""

import json as json_format
import shlex
import sys
from typing import Any, Literal

from lightning import LightningDataModule
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpvit.cli import CommandError
from gpvit.errors import UserError
from gpvit.inference.inferers import choose_inferer
from gpvit.inference.metadata import task_of
from gpvit.io import write_text
from gpvit.tasks import certificates
from gpvit.tasks.evaluate import SOURCES, find_data, open_data
from gpvit.tasks.evaluate import evaluate as score
from gpvit.train.recipes import data_settings, find_class
from gpvit.zoo.factory import is_untrained, open_model

_KINDS = {"classification": "classifier", "segmentation": "segmenter", "detection": "detector"}
_ONLY_OF = {
    "results": ("detector",),
    **dict.fromkeys(("scales", "flip"), ("segmenter",)),
    **dict.fromkeys(("window", "overlap"), ("segmenter", "detector")),
}


def evaluate(
    checkpoint: str,
    data: str | None = None,
    batch_size: int | None = None,
    num_workers: int | None = None,
    window: int | None = None,
    overlap: float | None = None,
    scales: str | None = None,
    flip: bool = False,
    results: str | None = None,
    device: str | None = None,
    json: str | None = None,
    expect: float | Literal["published"] | None = None,
    metric: str | None = None,
    tolerance: float = certificates.TOLERANCE,
    certificate: str | None = None,
    **settings: str,
) -> None:
    """Score a checkpoint on a dataset, its images prepared as the checkpoint says.

    With an expected score, the verb fails where the measured one is out of tolerance.

    Args:
        checkpoint: A .safetensors file, the folder of a run, an exported file, or published weights such as
            `gpvit_l1.in1k`.
        data: For a classifier `digits`, the default, a folder with val/CLASS/ images, or a folder of WebDataset shards;
            for a segmenter `digit_scenes`, the default, ADE20K's folder, or one with images/val/ and masks/val/; for a
            detector `digit_scenes`, the default, or a folder of COCO, or of one's own in the layout of COCO, Pascal VOC
            or YOLO, which is found by looking.
        batch_size: Images that a classifier computes at once, by default 64, or that a detector does where all are of
            one size, by default 1; a segmenter takes them one by one.
        num_workers: Processes that load images.
        window: Segmenters and detectors: side in pixels of windows that slide over the image at its own size.
        overlap: Part of a window's side that its neighbour sees as well; by default a third.
        scales: Segmenters only: factors of the image's size to average over, such as `0.5,1.0,1.5`.
        flip: Segmenters only: average over the image and its mirror image.
        results: Detectors only: file to write all detections to, in COCO's result format. For the same mask AP of
            small and medium objects by pycocotools, remove `bbox` first: its loadRes takes areas from it.
        device: `cpu` or `cuda`; by default a GPU if there is one.
        json: File to write the scores to; `-` prints them in place of the table.
        expect: The score that is expected, from 0 to 1, or `published` for the authors' scores of these weights.
        metric: Which score is expected: by default `top1`, `miou` or `box_ap`.
        tolerance: How far a score may be from the expected one, either way; 0.002 is 0.2 points of percent.
        certificate: File to write scores, versions, machine and the weights' SHA-256 to; by default against the
            published scores.
        **settings: Settings of the data are given as to `gpvit train`: `--data.root FOLDER`, which is `--data FOLDER`,
            `--data.class CLASS`, `--data.masks false`, `--data.val_images valid` and so on.
    """
    options = {name: value for name, value in locals().items() if value is not None and value is not False}
    options |= options.pop("settings")
    model: Any = open_model(checkpoint)
    if is_untrained(checkpoint):
        raise UserError(f"{checkpoint!r} names no trained weights; give a .safetensors file, or a tag: gpvit_l1.in1k")
    task = task_of(model)
    for option, kinds in _ONLY_OF.items():
        if option in options and _KINDS[task] not in kinds:
            raise UserError(f"leave out --{option}: it is for {kinds[0]}s, and this is a {_KINDS[task]}")
    if task == "segmentation" and batch_size is not None:
        raise UserError("leave out --batch-size: a segmenter takes its images one by one")
    if expect is None and metric is not None:
        raise UserError(f"leave out --metric, or say by --expect what {metric} should be")
    if isinstance(expect, float) and not 0 <= expect <= 1:
        raise UserError(f"expect {expect}: give a score from 0 to 1, such as 0.81 for 81 %")
    if tolerance < 0:
        raise UserError(f"tolerance {tolerance}: give 0 or more")
    is_published = expect == "published" or (expect is None and certificate is not None)
    expected, images = certificates.published_scores(checkpoint) if is_published else ({}, None)
    inferer = choose_inferer(task, window, overlap, flip, scales)
    given: dict[str, Any] = {name.removeprefix("data."): value for name, value in settings.items()}
    if data is not None and "root" in given:
        raise UserError(f"--data {data} and --data.root {given['root']} say the same; give one of them")
    root = data or given.pop("root", None)
    named = given.pop("class", None)
    data_class = find_class(named, LightningDataModule) if named else find_data(task, root)
    data = root or named or SOURCES[task].own_name
    if root not in (None, SOURCES[task].own_name):
        given["root"] = root
    given |= {n: str(v) for n, v in (("batch_size", batch_size), ("num_workers", num_workers)) if v is not None}
    opened = open_data(data_class, model, **data_settings(data_class, given))
    scores = score(model, opened, inferer=inferer, results=results, device=device, progress=sys.stderr.isatty())
    report = json_format.dumps({"checkpoint": checkpoint, "data": data, **scores}, indent=1)
    if json == "-":
        print(report)
    else:
        _show(f"{checkpoint} on {data}", scores)
        if json is not None:
            write_text(json, report + "\n")
    if isinstance(expect, float):
        expected = {metric or next(iter(scores)): expect}
    if not expected:
        return
    where = next(model.parameters()).device
    evidence = certificates.certify(checkpoint, data, scores, expected, tolerance, images, where)
    evidence["expectation"] = "published by the authors" if is_published else "stated by the caller"
    for row in evidence["compared"]:
        verdict = "agrees" if row["agrees"] else "differs"
        figures = ", ".join(f"{name} {row[name]:.2%}" for name in ("measured", "expected", "tolerance"))
        print(f"{row['score']} {verdict}: {figures}", file=sys.stderr if json == "-" else sys.stdout)
    if certificate is not None:
        words = [n if n.startswith("data.") else n.replace("_", "-") for n in options]
        flags = [f"--{n}" + ("" if v is True else f"={v}") for n, v in zip(words, options.values(), strict=True)][1:]
        evidence["command"] = shlex.join(["gpvit", "evaluate", checkpoint, *flags])
        write_text(certificate, json_format.dumps(evidence, indent=1) + "\n")
    if evidence["faults"]:
        raise CommandError("\n".join(evidence["faults"]))


def _show(title: str, scores: dict[str, Any]) -> None:
    """Print scores as a table, below those of each class; the worst class by the first score stands out."""
    console = Console()
    console.print(title, soft_wrap=True)
    if classes := scores.get("classes"):
        first, *others = next(iter(classes.values()))
        worst = min((each[first] for each in classes.values() if each[first] is not None), default=-1)
        table = Table("class", first, *others, "")
        for name, each in classes.items():
            is_worst = each[first] == worst
            row = (Text(name), *map(_percent, each.values()), "worst" if is_worst else "")
            table.add_row(*row, style="bold" if is_worst else None)
        console.print(table)
    table = Table("score", "value")
    for name, value in scores.items():
        if name != "classes":
            table.add_row(name, _percent(value) if name not in ("loss", "images") else f"{value:.4g}")
    console.print(table)


def _percent(value: float | None) -> str:
    return "none here" if value is None else f"{value:.2%}"
