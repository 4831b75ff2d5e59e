"""The shipped models on digits and photographs that they have not seen: scores and examples, as plain data."""

from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.photographs import photograph_credit
from gpvit.data.synthetic.render import PHOTOGRAPHS
from gpvit.data.visualise import draw_boxes, overlay_labels
from gpvit.inference.predictor import Predictor
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.tasks.evaluate import evaluate
from gpvit.train.recipes import read_recipe

READER = "gpvit_nano.digits"
LABELLER = "segformer_gpvit_nano.digit_scenes"
FINDER = "mask_rcnn_gpvit_nano.digit_scenes"
SHOWN_SCENES = 6
_SCENES, _QUICK_SCENES = 100, 6
_OPACITY = 0.8


def credits(split: Literal["train", "test"]) -> str:
    """Name the makers of the photographs beneath the scenes of a split."""
    return "; ".join(dict.fromkeys(photograph_credit(name) for name in PHOTOGRAPHS[split]))


def reader_facts() -> dict[str, Any]:
    """Read all test digits: accuracy, and examples right, doubtful and wrong."""
    predictor: Predictor[ClassificationResult] = Predictor(READER, batch_size=64)
    images, labels = digits_split("test")
    results = predictor([Image.fromarray(image) for image in images])
    probabilities = torch.stack([result.probabilities for result in results]).numpy()
    surest, right = probabilities.max(1), probabilities.argmax(1) == labels

    def example(index: int) -> dict[str, Any]:
        bars = [(name, share, number == labels[index]) for name, number, share in results[index].top(3)]
        image = Image.fromarray(images[index]).resize((128, 128), Image.Resampling.BICUBIC)
        return {"image": image, "caption": f"a {labels[index]}", "bars": bars}

    found, wrong = np.flatnonzero(right), np.flatnonzero(~right)
    return {
        "parameters": _parameters(predictor),
        "test": {"accuracy": float(right.mean()), "images": len(labels), "wrong": len(wrong)},
        "confidence": float(surest.mean()),
        "doubtful": [example(index) for index in found[surest[found].argsort()][:5]],
        "mistaken": [example(index) for index in wrong[(-surest[wrong]).argsort()][:5]],
    }


def labeller_facts(quick: bool) -> dict[str, Any]:
    """Label test scenes: IoU, and the first scenes with truth and answer."""
    predictor: Predictor[SegmentationResult] = Predictor(LABELLER)
    data = _test_scenes("segment", quick)
    scores = evaluate(predictor.model, data)
    iou = {name: each["iou"] for name, each in scores["classes"].items() if each["iou"] is not None}
    shown = [data.samples("val")[index] for index in range(SHOWN_SCENES)]
    results = predictor([sample.image for sample in shown])
    colors = results[0].colors
    return {
        "parameters": _parameters(predictor),
        "test": {"miou": scores["miou"], "pixel_accuracy": scores["aacc"], "scenes": scores["images"]},
        "worst": min(iou, key=iou.__getitem__),
        "worst_iou": min(iou.values()),
        "colors": list(zip(results[0].class_names, colors, strict=True))[1:],
        "examples": [
            (
                sample.image,
                overlay_labels(sample.image, sample.mask, colors, _OPACITY),
                result.overlay(_OPACITY),
                float((result.labels == sample.mask).mean()),
            )
            for sample, result in zip(shown, results, strict=True)
        ],
    }


def finder_facts(quick: bool) -> dict[str, Any]:
    """Score the detector, and show what it finds in the first test scenes."""
    predictor: Predictor[DetectionResult] = Predictor(FINDER)
    data = _test_scenes("detect", quick)
    scores = evaluate(predictor.model, data)
    shown = [data.samples("val")[index] for index in range(SHOWN_SCENES)]
    results = predictor([scene.image for scene in shown])
    return {
        "parameters": _parameters(predictor),
        "test": {name: scores[name] for name in ("box_ap", "box_ap50", "mask_ap", "images")},
        "examples": [_boxes(scene, result) for scene, result in zip(shown, results, strict=True)],
    }


def _test_scenes(recipe: str, quick: bool) -> Any:
    scenes = _QUICK_SCENES if quick else _SCENES
    return read_recipe([f"recipes/weights/{recipe}.yaml", f"--data.test_scenes={scenes}"]).build()[1]


def _parameters(predictor: Predictor[Any]) -> int:
    return sum(parameter.numel() for parameter in predictor.model.parameters())


def _boxes(scene: Any, result: DetectionResult) -> tuple[Image.Image, Image.Image, int]:
    """Draw the truth and the surest detections of a scene, as many as it has digits, on gray."""
    gray = scene.image.convert("L").convert("RGB").resize((2 * scene.image.width, 2 * scene.image.height))
    count = len(scene.objects.labels)

    def drawn(boxes: Any, labels: Any, masks: Any, scores: list[float] | None = None) -> Image.Image:
        names = [result.class_names[label - 1] for label in labels]
        colors = [result.colors[label - 1] for label in labels]
        enlarged = [np.asarray(mask).repeat(2, 0).repeat(2, 1) for mask in masks]
        return draw_boxes(gray, (2 * boxes).tolist(), names, scores, enlarged, colors)

    masks = () if result.masks is None else result.masks
    truth = drawn(scene.objects.boxes, scene.objects.labels, scene.masks)
    found = drawn(result.boxes[:count], result.labels[:count], masks[:count], result.scores[:count].tolist())
    return truth, found, count
