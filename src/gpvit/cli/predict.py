"""The verb `gpvit predict`."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from gpvit.cli import CommandError
from gpvit.cli.answers import answers_of
from gpvit.cli.labelling import labelling_method
from gpvit.cli.prediction_job import Plan, Settings, run_job, write_results
from gpvit.data.detection.results import write_coco_results
from gpvit.data.images import ImageSource, list_images
from gpvit.devices import choose_device
from gpvit.errors import UserError
from gpvit.inference.figures import picture_names
from gpvit.inference.inputs import Pictures
from gpvit.inference.metadata import task_of
from gpvit.inference.predictor import Predictor
from gpvit.zoo.factory import is_untrained, open_model

_OPTIONS = {
    "classification": ("classifies images", {"top", "batch_size"}),
    "segmentation": ("segments images", {"window", "overlap", "scales", "flip"}),
    "detection": ("detects objects", {"batch_size", "score", "classes", "coco"}),
}
"""What a model of each task does, and which options are for it."""


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
    json: bool = False,
    out: str | None = None,
    no_pictures: bool = False,
    devices: int | None = None,
    num_nodes: int = 1,
) -> None:
    """Classify or segment images or find objects: what is in each, how much of it, and how sure the model is.

    Args:
        model: Name of a model, as gpvit_l1.in1k or mask_rcnn_gpvit_l1.coco_3x, or path of a checkpoint.
        images: Files, folders and patterns such as 'photos/*.jpg'; frames of a video come in the order of their
            numbers. With --devices also folders of shards.
        weights: Tag or file of the weights, for a name without tag.
        top: Of a classifier, the number of classes to print; 5 if left out.
        batch_size: Of a classifier or detector, the images that go through the model at once; 16 and 1 if left out.
        window: Of a segmenter, the side in pixels of windows that slide over the image at its own size, for images
            too large for memory.
        overlap: Part of a window's side that its neighbour sees as well; a third if left out.
        scales: Of a segmenter, factors of the image's size to average over, as 0.5,1.0,1.5.
        flip: Of a segmenter, average over the image and its mirror image.
        score: Of a detector, the least score of an object; 0.5 if left out.
        classes: Of a detector, the classes to look for, as cat,dog; all if left out.
        coco: Of a detector, a file for the objects of all images in COCO's result format; to be scored, it needs
            --score 0. An image_id is the number that the file is named by, as 139 of 000000000139.jpg, if that goes
            for all images, or else the image's place, from 1.
        device: Where to compute, such as cpu or cuda; chosen for you if left out.
        json: Print one line of JSON for each image in place of tables.
        out: Folder for annotated pictures and, of a segmenter, the labels as index PNGs.
        no_pictures: Draw no annotated pictures; that may take longer than the model.
        devices: Run one process on each of so many devices (or so many on the CPU), which write predictions.jsonl into
            --out. If anything ends them, the same command goes on where they stopped, with any number of devices.
        num_nodes: Run so on so many machines, started on each with NODE_RANK set, or by torchrun or srun.
    """
    if top is not None and top < 1:
        raise UserError(f"top is {top}; give 1 or more")
    if coco is not None and Path(coco).is_dir():
        raise UserError(f"--coco {coco} is a folder; name a file, as {Path(coco, 'results.json')}")
    if devices is None and num_nodes != 1:
        raise UserError(f"--num-nodes {num_nodes} is for --devices; say how many each machine has")
    if devices is not None:
        _check_job(devices, num_nodes, out)
    paths = list_images(images) if devices is None else Pictures(images).paths
    network = open_model(model, weights).to(choose_device(device) if devices is None else "cpu")
    task = task_of(network)
    given = {"top": top, "batch_size": batch_size, "score": score, "classes": classes, "coco": coco}
    _refuse_others(task, **given, window=window, overlap=overlap, scales=scales, flip=flip or None)
    method = labelling_method(window, overlap, flip, scales) if task == "segmentation" else None
    predictor = Predictor(network, batch_size=batch_size, method=method)
    answers = answers_of(task, predictor.class_names, top, score, classes)
    if is_untrained(model, weights):
        print("no weights: predictions are arbitrary", file=sys.stderr)
    files = _files(paths, answers.suffixes, out, no_pictures)
    if devices is not None and out is not None:
        settings = Settings(
            model, weights, top, window, overlap, scales, flip, score, classes, coco is not None, no_pictures
        )
        plan = Plan(settings, images, [files[path] for path in paths], _image_ids(paths), out, batch_size, device)
        _predict_on_devices(plan, devices, num_nodes, coco, json)
        return
    unreadable: list[ImageSource] = []

    def report(source: ImageSource, error: Exception) -> None:
        unreadable.append(source)
        print(f"gpvit predict: {error}", file=sys.stderr)

    image_ids = dict(zip(paths, _image_ids(paths), strict=True))
    objects: list[dict[str, Any]] = []
    console = Console()
    for result in map(answers.select, predictor.stream(paths, on_error=report)):
        facts: dict[str, Any] = {kind: str(path) for kind, path in files[result.source].items()}
        if out is not None:
            answers.write(result, files[result.source])
        if coco is not None:
            facts["image_id"] = image_ids[result.source]
            objects += result.to_coco(image_ids[result.source])
        if json:
            print(json_format.dumps({**answers.facts(result), **facts}, ensure_ascii=False), flush=True)
        else:
            console.print(_heading(result.source, facts), soft_wrap=True)  # a path stays whole
            console.print(answers.table(result))
    if coco is not None:
        write_coco_results(objects, coco)
    if unreadable:
        raise CommandError(f"{len(unreadable)} of {len(paths)} images could not be read")


def _predict_on_devices(plan: Plan, devices: int, num_nodes: int, coco: str | None, json: bool) -> None:
    """Predict in one process for each device, and merge their results once all are there."""
    job = run_job(plan, devices, num_nodes)
    if job is None:
        print("this part is done; others are not yet, and the last to finish merges all", file=sys.stderr)
        return
    done, unreadable = write_results(job, coco, json)
    print(f"{done} images: {job.folder / 'predictions.jsonl'}", file=sys.stderr if json else sys.stdout)
    if unreadable:
        raise CommandError(
            f"{unreadable} of {done + unreadable} images could not be read; the same command tries these again"
        )


def _check_job(devices: int, num_nodes: int, out: str | None) -> None:
    if devices < 1 or num_nodes < 1:
        raise UserError(f"--devices {devices} --num-nodes {num_nodes}: give 1 or more of each")
    if out is None:
        raise UserError(f"--devices {devices} needs --out FOLDER, where its processes keep what they have done")


def _refuse_others(task: str, **options: object) -> None:
    """Refuse options, where any is given, that the model's task has no use for."""
    does, own = _OPTIONS[task]
    if others := [name for name, value in options.items() if value is not None and name not in own]:
        names = ", ".join("--" + name.replace("_", "-") for name in others)
        raise UserError(f"the model {does}, which {names} does not apply to; leave it out")


def _files(
    paths: Sequence[Path], suffixes: dict[str, str], out: str | None, no_pictures: bool
) -> dict[Path, dict[str, Path]]:
    """Name the files of each kind that are written for each image, none without a folder."""
    files: dict[Path, dict[str, Path]] = {path: {} for path in paths}
    if out is not None:
        for kind, suffix in suffixes.items():
            if kind == "picture" and no_pictures:
                continue
            for path, name in zip(paths, picture_names(paths, suffix), strict=True):
                files[path][kind] = Path(out, name)
    return files


def _image_ids(paths: Sequence[Path]) -> list[int]:
    """Number images as their files' names do, if all are different numbers, or else from 1."""
    stems = [path.stem for path in paths]
    if all(stem.isascii() and stem.isdigit() for stem in stems) and len(set(map(int, stems))) == len(stems):
        return [int(stem) for stem in stems]
    return list(range(1, len(paths) + 1))


def _heading(source: Path, facts: dict[str, Any]) -> Text:
    heading = Text(str(source), style="bold")
    if "image_id" in facts:
        heading.append(f", image {facts.pop('image_id')}", style="not bold dim")
    if facts:
        heading.append(f" -> {', '.join(facts.values())}", style="not bold dim")
    return heading
