"""Predicts many images and writes the files of each, in one process: what `gpvit predict` does on every device."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gpvit.data.workers import usable_cores
from gpvit.devices import place
from gpvit.errors import UserError
from gpvit.inference.inferers import choose_inferer
from gpvit.inference.inputs import Images, image_names
from gpvit.inference.metadata import task_of
from gpvit.inference.predictor import AnyResult, Precision, Predictor
from gpvit.inference.results.base import Failure
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult, labels_named, split_names
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.io import sha256
from gpvit.zoo.factory import open_model
from gpvit.zoo.files import weights_file

_WRITERS = 2  # threads that draw and write
_SUFFIXES = {"overlay": "_predicted", "labels": "_labels"}
"""What ends the name of each kind of file that is written for an image."""


@dataclass(frozen=True)
class Plan:
    """What to predict and what to keep of it, as the options of `gpvit predict` say it; plain data for any process."""

    model: str
    images: tuple[str, ...]
    weights: str | None = None
    top: int = 5
    window: int | None = None
    overlap: float | None = None
    scales: str | None = None
    flip: bool = False
    score: float = 0.5
    classes: str | None = None
    coco: bool = False
    precision: Precision = "float32"
    no_overlays: bool = False
    out: str | None = None
    batch_size: int | None = None
    workers: int | None = None
    device: str | None = None

    def settings(self) -> dict[str, Any]:
        """Return what results depend on, with the digest of the weights' file."""
        elsewhere = ("images", "out", "batch_size", "workers", "device")
        settings = {name: value for name, value in asdict(self).items() if name not in elsewhere}
        files = [weights_file(name) for name in (self.weights, self.model) if name is not None]
        return {**settings, "weights_sha256": next((sha256(path) for path in files if path.is_file()), None)}


class Answer(NamedTuple):
    """What became of one image.

    Args:
        line: What a job keeps (see `gpvit.inference.job`): its `index` and the `error`, or else the `facts`: the result
            as plain data, with the files that were written; and perhaps its `objects` in COCO's result format.
        result: What was asked for of the result.
    """

    line: dict[str, Any]
    result: AnyResult | None = None


class BatchPredictor:
    """Predicts the images of a plan, on a device; refuses a model, images or options that cannot be."""

    def __init__(self, plan: Plan, device: str | None = None, images: Images | None = None) -> None:
        self.plan = plan
        self.images = images or Images(plan.images)
        model = place(open_model(plan.model, plan.weights), device)
        task = task_of(model)
        inferer = choose_inferer(task, plan.window, plan.overlap, plan.flip, plan.scales)
        self.predictor = Predictor(model, None, plan.batch_size, inferer, plan.precision)
        names = self.predictor.class_names
        self.classes = None if plan.classes is None else split_names(plan.classes, names)
        labels_named(self.classes or (), names)
        if not 0 <= plan.score <= 1:
            raise UserError(f"score is {plan.score}; give the minimum score of an object, from 0 to 1")
        kinds = [kind for kind in _SUFFIXES if (task == "segmentation" if kind == "labels" else not plan.no_overlays)]
        self.files = {} if plan.out is None else {k: image_names(self.images.names, _SUFFIXES[k]) for k in kinds}
        self.image_ids = self.images.image_ids() if plan.coco else []

    def answers(self, indices: Sequence[int], processes: int = 1) -> Iterator[Answer]:
        """Predict images by their numbers, in order; threads draw and write, and hold up no other image.

        So many `processes` share the cores for their loader workers, unless the plan says how many of these there are.
        """
        workers = self.plan.workers
        if workers is None:
            on_cpu = next(self.predictor.model.parameters()).device.type == "cpu"  # where the network needs cores, too
            workers = min(4, max(1, usable_cores() // processes // (2 if on_cpu else 1)))
        if len(indices) <= self.predictor.batch_size:
            workers = 0
        outcomes = self.predictor.stream(indices, workers, self.images.__getitem__, "overlay" in self.files)
        with ThreadPoolExecutor(_WRITERS, "result-writer") as threads:
            waiting: deque[Future[Answer]] = deque()
            for outcome in outcomes:
                waiting.append(threads.submit(self.answer, outcome))
                while waiting and (waiting[0].done() or len(waiting) > 4 * _WRITERS):
                    yield waiting.popleft().result()
            yield from (each.result() for each in waiting)

    def answer(self, outcome: AnyResult | Failure) -> Answer:
        """Write the files of a result, whose source is the image's number, and say what is in it."""
        plan, index = self.plan, outcome.source
        name = self.images.names[index]
        if isinstance(outcome, Failure):
            return Answer({"index": index, "error": outcome.message(name)})
        if isinstance(outcome, DetectionResult):
            outcome = outcome.filtered(plan.score, self.classes)
        top = (plan.top,) if isinstance(outcome, ClassificationResult) else ()
        files = {kind: Path(plan.out or "", names[index]) for kind, names in self.files.items()}
        if "overlay" in files:
            outcome.save(files["overlay"], *top)
        if "labels" in files and isinstance(outcome, SegmentationResult):
            outcome.save_labels(files["labels"])
        facts = outcome.to_dict(*top) | {"source": name} | {kind: str(path) for kind, path in files.items()}
        line = {"index": index, "facts": facts}
        if plan.coco and isinstance(outcome, DetectionResult):
            facts["image_id"] = self.image_ids[index]
            line["objects"] = outcome.to_coco(self.image_ids[index])
        return Answer(line, outcome)
