"""The verb `gpvit predict`."""

import json as json_format
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from gpvit.cli import CommandError
from gpvit.cli.render import heading, table
from gpvit.data.detection.results import write_coco_results
from gpvit.errors import UserError
from gpvit.inference.batch import BatchPredictor, Plan
from gpvit.inference.inputs import Images
from gpvit.inference.launch import given_place, open_job, predict_on_devices, report_error
from gpvit.inference.metadata import task_of
from gpvit.inference.predictor import Precision
from gpvit.zoo.factory import is_untrained, untrained_remark

_DOES = {"classification": "classifies images", "segmentation": "segments images", "detection": "detects objects"}
_OPTIONS = {
    "classification": ("top",),
    "detection": ("score", "classes", "coco", "window", "overlap"),
    "segmentation": ("window", "overlap", "scales", "flip"),
}
"""Options that are for models of one task alone."""


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
    score: float | None = None,
    classes: str | None = None,
    coco: str | None = None,
    device: str | None = None,
    precision: Precision = "float32",
    workers: int | None = None,
    json: bool = False,
    out: str | None = None,
    no_overlays: bool = False,
    devices: int | None = None,
    ray: str | None = None,
) -> None:
    """Classify or segment images or find objects: what is in each, how much of it, and how sure the model is.

    Args:
        model: Name of a model such as gpvit_l1.in1k or mask_rcnn_gpvit_l1.coco_3x, path of a checkpoint or of
            an exported file such as model.onnx, or folder of a run.
        images: Files, folders, patterns such as 'photos/*.jpg', folders of shards, and addresses such as
            s3://bucket/photos; frames of a video come in the order of their numbers.
        weights: Tag or file of the weights, for a name without tag.
        top: Classifiers only: number of classes to print (default 5).
        batch_size: Images that go through the model at once (default 16 for classifiers, else 1); segmenters and
            detectors take only images of equal size together.
        window: Segmenters and detectors: side in pixels of windows that slide over the image at its own size.
        overlap: Part of a window's side that its neighbour sees as well (default one third).
        scales: Segmenters only: factors of the image's size to average over, such as 0.5,1.0,1.5.
        flip: Segmenters only: average over the image and its mirror image.
        score: Detectors only: minimum score to keep (default 0.5).
        classes: Detectors only: classes to look for, such as cat,dog (default all); a comma within the name of a class
            needs nothing: 'chair, folding,cat'.
        coco: Detectors only: file for the objects of all images in COCO's result format; for scoring, add --score 0.
            An image_id is the number that the file is named by, such as 139 of 000000000139.jpg, if all images are
            named so, or else the image's position, from 1.
        device: Where to compute, such as cpu or cuda (default an accelerator if there is one).
        precision: bfloat16 and float16 run the network under autocast, which is faster on GPUs.
        workers: Processes that decode images ahead of the network (default up to 4, by the number of cores).
        json: Print one line of JSON for each image in place of tables.
        out: Folder for annotated images and, of a segmenter, the labels as index PNGs.
        no_overlays: Write no annotated images; drawing may take longer than the model.
        devices: Run one process on each of so many devices (or so many on the CPU), which write predictions.jsonl into
            --out. The same command resumes after an interruption, with any number of devices.
        ray: Run on a Ray cluster, at an address or auto, and write as --devices does.
    """
    given = {**locals(), "flip": flip or None}
    _check(top, coco, out, devices, ray)
    plain = {"images": tuple(images), "top": top or 5, "score": 0.5 if score is None else score}
    options = {**given, **plain, "flip": flip, "coco": coco is not None}
    plan = Plan(**{field.name: options[field.name] for field in fields(Plan)})
    listed = Images(images)
    batches = BatchPredictor(plan, device if devices is None and ray is None else "cpu", listed)
    _refuse_others(task_of(batches.predictor.model), given)
    if is_untrained(model, weights):
        print(untrained_remark(model), file=sys.stderr)
    if devices is not None or ray is not None:
        _run_job(plan, listed, devices, ray, coco, json)
        return
    console, objects, failures = Console(), [], 0
    for answer in batches.answers(range(len(listed))):
        report_error(answer.line)
        if answer.result is None:
            failures += 1
        elif json:
            _print_json(answer.line["facts"])
        else:
            console.print(heading(answer.line["facts"]), soft_wrap=True)  # a path stays whole
            console.print(table(answer.result, plan))
        objects += answer.line.get("objects", [])
    if coco is not None:
        write_coco_results(objects, coco)
    if failures:
        raise CommandError(f"{failures} of {len(listed)} images could not be predicted")


def _run_job(plan: Plan, images: Images, devices: int | None, ray: str | None, coco: str | None, json: bool) -> None:
    """Predict in several processes, and merge their results once all are there."""
    from gpvit.inference.cluster import predict_on_cluster

    if ray is not None:
        predict_on_cluster(plan, ray, images)
        failed = []
    else:
        failed = predict_on_devices(plan, devices or 1, images)
    job = open_job(plan, images)
    if missing := job.missing():
        if not failed and ray is None and given_place(devices or 1) is not None:
            print("this part is done; others are not yet, and the last to finish merges all", file=sys.stderr)
            return
        reasons = "; ".join([*failed, f"{missing} of {len(images)} images are missing"])
        raise CommandError(f"{reasons}: run the same command again to resume")
    done, failures = job.merge(coco)
    merged = job.folder / "predictions.jsonl"
    if json:
        with merged.open(encoding="utf-8") as lines:
            for line in lines:
                _print_json(json_format.loads(line))
    print(f"{done} images: {merged}", file=sys.stderr if json else sys.stdout)
    if failures:
        raise CommandError(f"{failures} of {len(images)} images could not be predicted; the same command retries them")


def _print_json(facts: dict[str, Any]) -> None:
    print(json_format.dumps(facts, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"), flush=True)


def _check(top: int | None, coco: str | None, out: str | None, devices: int | None, ray: str | None) -> None:
    """Refuse what cannot be, before anything is loaded."""
    if top is not None and top < 1:
        raise UserError(f"top is {top}; give 1 or more")
    if coco is not None and Path(coco).is_dir():
        raise UserError(f"--coco {coco} is a folder; name a file, such as {Path(coco, 'results.json')}")
    if devices is not None and (devices < 1 or ray is not None):
        raise UserError(f"--devices {devices}: give 1 or more" + ", or --ray alone" * (ray is not None))
    if out is None and (devices is not None or ray is not None):
        raise UserError(f"{'--devices' if ray is None else '--ray'} needs --out FOLDER, where predictions are kept")


def _refuse_others(task: str, given: dict[str, Any]) -> None:
    """Refuse options, where any is given, that are for models of other tasks alone."""
    alien = dict.fromkeys(name for options in _OPTIONS.values() for name in options if name not in _OPTIONS[task])
    if others := [name for name in alien if given[name] is not None]:
        names = ", ".join(f"--{name}" for name in others)
        raise UserError(f"the model {_DOES[task]}, which {names} does not apply to; leave it out")
