"""How `gpvit predict` runs on several devices: what each process does, and what becomes of all results."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gpvit.cli import CommandError
from gpvit.cli.answers import Answers, answers_of
from gpvit.cli.labelling import labelling_method
from gpvit.data.images import ImageSource
from gpvit.inference.inputs import Pictures
from gpvit.inference.job import Job, Writer
from gpvit.inference.metadata import task_of
from gpvit.inference.predictor import Predictor
from gpvit.inference.processes import Place, device_of, given_place, parent_is_gone, run_processes
from gpvit.io import replacing
from gpvit.zoo.factory import open_model


@dataclass(frozen=True)
class Settings:
    """What results depend on, each as the options of `gpvit predict` say it."""

    model: str
    weights: str | None
    top: int | None
    window: int | None
    overlap: float | None
    scales: str | None
    flip: bool
    score: float | None
    classes: str | None
    coco: bool
    no_pictures: bool

    def facts(self) -> dict[str, Any]:
        """Give all as plain data, with the hash of the weights' file."""
        files = (Path(name) for name in (self.weights, self.model) if name is not None)
        return {**asdict(self), "weights_sha256": next((_sha256(path) for path in files if path.is_file()), None)}


@dataclass(frozen=True)
class Plan:
    """What all processes know.

    Args:
        settings: What results depend on.
        inputs: The images, as the command line names them.
        files: The files of each kind that are written for each image, by its place.
        image_ids: Numbers of the images in COCO files, by their place.
        out: Folder of the results.
        batch_size: Images that go through the model at once.
        device: Kind of device.
    """

    settings: Settings
    inputs: list[str]
    files: list[dict[str, Path]]
    image_ids: list[int]
    out: str
    batch_size: int | None
    device: str | None


def run_job(plan: Plan, devices: int, num_nodes: int) -> Job | None:
    """Predict all images that have no result yet.

    Returns:
        The results, or None where other machines or processes have yet to finish: the last one has them all.

    Raises:
        CommandError: If a process ended early. What it wrote stays.
    """
    job = _job(plan, Pictures(plan.inputs))
    place = given_place(devices, num_nodes)
    if place is not None:
        predict_share(plan, place)
    else:
        if num_nodes == 1:
            job.require_idle()
        if ended := run_processes(partial(predict_share, plan), devices, num_nodes):
            raise CommandError(
                f"{'; '.join(ended)}; {job.missing()} of {len(job.sources)} images are missing: run the same command "
                "again to go on with these"
            )
    return None if job.missing() else job


def predict_share(plan: Plan, place: Place) -> None:
    """Predict the images of one process."""
    pictures = Pictures(plan.inputs)
    job, settings = _job(plan, pictures), plan.settings
    share = job.share(place.rank, place.world_size)
    if not share:
        return
    model = open_model(settings.model, settings.weights)
    segments = task_of(model) == "segmentation"
    method = labelling_method(settings.window, settings.overlap, settings.flip, settings.scales) if segments else None
    predictor = Predictor(model, device_of(place, plan.device), plan.batch_size, method)
    answers = answers_of(task_of(model), predictor.class_names, settings.top, settings.score, settings.classes)
    with job.writer(place.rank) as writer:
        for first in range(0, len(share), predictor.batch_size):
            if parent_is_gone():
                return
            batch = share[first : first + predictor.batch_size]
            _predict_batch(plan, predictor, answers, pictures, batch, writer)


def _predict_batch(
    plan: Plan, predictor: Predictor, answers: Answers, pictures: Pictures, batch: list[int], writer: Writer
) -> None:
    opened: list[ImageSource] = []
    places: dict[int, int] = {}  # of images, by what stands for them in Python

    def report(index: int, error: Exception) -> None:
        print(f"gpvit predict: {error}", file=sys.stderr, flush=True)
        writer.write(index, error=str(error))

    for index in batch:
        try:
            opened.append(pictures[index])
            places[id(opened[-1])] = index
        except (ValueError, OSError) as error:
            report(index, error)
    results = predictor.stream(opened, on_error=lambda source, error: report(places[id(source)], error))
    for result in map(answers.select, results):
        index = places[id(result.source)]
        facts = {**answers.facts(result), "source": str(pictures.paths[index])}
        if files := plan.files[index]:
            answers.write(result, files)
            facts.update({kind: str(path) for kind, path in files.items()})
        content: dict[str, Any] = {}
        if plan.settings.coco:
            facts["image_id"] = plan.image_ids[index]
            content["objects"] = result.to_coco(plan.image_ids[index])
        writer.write(index, facts=facts, **content)


def write_results(job: Job, coco: str | None, json_lines: bool) -> tuple[int, int]:
    """Merge the results of all processes into `predictions.jsonl` and perhaps a COCO file, in the order of the images.

    Args:
        job: The results.
        coco: Path of the COCO file.
        json_lines: Print the lines, too.

    Returns:
        How many images have a result, and how many could not be read.
    """
    counts = [0, 0]
    merged = job.folder / "predictions.jsonl"
    with replacing(merged) as lines_path, replacing(coco) if coco else nullcontext() as coco_path:
        with lines_path.open("w", encoding="utf-8") as file:
            for content in job.lines():
                counts["error" in content] += 1
                if "error" not in content:
                    line = json.dumps(content["facts"], ensure_ascii=False)
                    file.write(line + "\n")
                    if json_lines:
                        print(line)
        if coco_path is not None:
            with coco_path.open("w", encoding="utf-8") as file:
                file.write("[")
                for number, found in enumerate(_objects(job)):
                    file.write((", " if number else "") + json.dumps(found))
                file.write("]\n")
    return counts[0], counts[1]


def _objects(job: Job) -> Iterator[dict[str, Any]]:
    for content in job.lines():
        yield from content.get("objects", ())


def _job(plan: Plan, pictures: Pictures) -> Job:
    return Job(plan.out, plan.settings.facts(), [str(path) for path in pictures.paths])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
