"""How good a detector is: COCO's average precision of boxes and masks."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as codec

from gpvit.data.detection.categories import Categories
from gpvit.data.detection.results import coco_results
from gpvit.errors import UserError

_FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
_ALL_AREAS = 0  # of COCO's area ranges


class DetectionScores:
    """Average precision as COCO defines it, of boxes and, if wanted, of masks.

    torchmetrics' own MeanAveragePrecision takes masks as dense tensors only, counts images twice that a distributed
    sampler repeats, and waits for ever where processes saw different numbers of images. This one keeps, per image, a
    line of JSON in the processor's memory; the first process gathers them, counts each image once, and scores.

    Args:
        class_names: The classes.
        masks: Score masks, too.
        most: Detections of an image and class that count, the surest: COCO's 100, of which a large image may hold more.

    Example:
        >>> scores = DetectionScores(["cat"], masks=False)
        >>> truth = {"boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]), "labels": torch.tensor([1]), "image_id": 7}
        >>> scores.update([{**truth, "scores": torch.tensor([0.9])}], [truth])
        >>> scores.compute()["box_ap"]
        tensor(1.)
    """

    def __init__(self, class_names: Sequence[str], masks: bool = True, most: int = 100) -> None:
        self.categories = Categories.from_names(class_names)
        self.most = most
        self.kinds = {"box": "bbox", "mask": "segm"} if masks else {"box": "bbox"}
        self.lines: list[str] = []

    def reset(self) -> None:
        """Forget all images."""
        self.lines = []

    def update(self, detections: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> None:
        """Take what was found in some images, and what is there; an image that comes again counts once.

        Args:
            detections: Per image `boxes (N, 4)`, left, top, right, bottom; `labels (N,)`, from 1; `scores (N,)`; and
                `masks`, as `run_lengths` takes them, at the size of the target's.
            targets: Per image `boxes`, `labels`, `masks` likewise, `image_id`, and, if known, `iscrowd` and `area`.
        """
        if len(detections) != len(targets):
            raise UserError(f"{len(detections)} detections for the targets of {len(targets)} images: give one to each")
        for detection, target in zip(detections, targets, strict=True):
            self.lines.append(json.dumps(self._record(detection, target)))

    def compute(self) -> dict[str, torch.Tensor]:
        """Score the images of all processes, which must call it together and all get the scores.

        They are `box_ap`, `box_ap50`, `box_ap75`, `box_ap_small`, `box_ap_medium` and `box_ap_large`, from 0 to 1, and
        `box_ap_per_class`, `(K,)`; with masks the same as `mask_...`. What no object in the data allows to say, such
        as the precision of an absent class, is NaN.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return self._score(self.lines)
        gathered: Any = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(self.lines, gathered)
        scores: list[Any] = [self._score([*chain.from_iterable(gathered)]) if gathered else None]
        dist.broadcast_object_list(scores)
        return dict(scores[0])

    def to_coco_results(self, categories: Categories) -> list[dict[str, Any]]:
        """List the detections in this process's images as COCO's result files do, with the ids of these categories."""
        found = [entry for record in _records(self.lines) for entry in record["found"]]
        return [{**entry, "category_id": categories.category_id(entry["category_id"])} for entry in found]

    def _score(self, lines: list[str]) -> dict[str, torch.Tensor]:
        records = _records(lines)
        annotations = [entry for record in records for entry in record["truth"]]
        truth = COCO()
        truth.dataset = {
            "images": [{"id": each["id"], "height": each["size"][0], "width": each["size"][1]} for each in records],
            "categories": [{"id": label, "name": name} for label, name in enumerate(self.categories.names, start=1)],
            # an id of 0 would count as unmatched
            "annotations": [{**entry, "id": number} for number, entry in enumerate(annotations, start=1)],
        }
        truth.createIndex()
        found = [entry for record in records for entry in record["found"]]
        return {
            f"{name}_{figure}": score
            for name, kind in self.kinds.items()
            for figure, score in _average_precision(truth, found, kind, self.most).items()
        }

    def _record(self, detection: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        image_id = int(target["image_id"])
        found, truth = self._entries(detection, image_id, "scores"), self._entries(target, image_id)
        sizes = {tuple(entry["segmentation"]["size"]) for entry in [*found, *truth] if "segmentation" in entry}
        if len(sizes) > 1:
            raise UserError(f"image {image_id}: masks of different sizes (height, width), {sorted(sizes)}")
        crowds = target["iscrowd"].tolist() if "iscrowd" in target else [0] * len(truth)
        areas = target["area"].tolist() if "area" in target else map(_area, truth)
        for entry, crowd, area in zip(truth, crowds, areas, strict=True):
            entry |= {"iscrowd": int(crowd), "area": area}
        size = sizes.pop() if sizes else (0, 0)  # of use with masks alone
        return {"id": image_id, "size": size, "found": found, "truth": truth}

    def _entries(self, values: Mapping[str, Any], image_id: int, *names: str) -> list[dict[str, Any]]:
        wanted = (*names, "boxes", "labels", *(["masks"] if "mask" in self.kinds else []))
        if missing := [name for name in wanted if name not in values]:
            raise UserError(f"image {image_id}: {missing} missing; there are {sorted(values)}")
        for name in {"boxes", "scores"} & set(wanted):
            if not torch.isfinite(values[name]).all():
                raise UserError(f"image {image_id}: {name} that are no finite numbers")
        return coco_results({name: values[name] for name in wanted}, image_id, self.categories)


def _records(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Give what is known of each image, once, in the order of their ids."""
    records: dict[int, dict[str, Any]] = {}
    for record in map(json.loads, lines):
        known = records.setdefault(record["id"], record)
        if known["truth"] != record["truth"]:
            raise UserError(f"image_id {record['id']} is of two different images; give each image its own number")
    return [records[image] for image in sorted(records)]


def _area(entry: Mapping[str, Any]) -> float:
    return float(codec.area(entry["segmentation"]) if "segmentation" in entry else math.prod(entry["bbox"][2:]))


def _average_precision(
    truth: COCO, found: Sequence[Mapping[str, Any]], kind: str, most: int
) -> dict[str, torch.Tensor]:
    """Score detections of one kind, "bbox" or "segm", in all and, as `ap_per_class`, by class."""
    unused = "segmentation" if kind == "bbox" else "bbox"  # would decide by itself how areas are counted
    results = truth.loadRes([{key: value for key, value in entry.items() if key != unused} for entry in found])
    evaluation = COCOeval_faster(truth, results, kind)
    evaluation.params.maxDets = [most]
    evaluation.run()
    precision = evaluation.eval["precision"][..., _ALL_AREAS, 0]  # (thresholds, recalls, classes)
    figures = dict(zip(_FIGURES, evaluation.stats, strict=False))
    scores = {**figures, "ap_per_class": precision.reshape(-1, precision.shape[-1]).mean(0)}
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in scores.items()}
    # COCO writes -1 for what there is no object for
    return {name: value.where(value >= 0, math.nan) for name, value in tensors.items()}
