"""What came of the demo's trainings: figures, images and charts for the report, as plain data."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from gpvit.data.classification.digits import Digits
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.segmentation import DigitScenes as SegmentationScenes
from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.photographs import photograph_credit
from gpvit.data.synthetic.render import PHOTOGRAPHS
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.data.visualise import draw_boxes, overlay_labels
from gpvit.demo import charts
from gpvit.demo.runs import Run
from gpvit.inference.inferers import SlidingWindow
from gpvit.inference.predictor import Predictor
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult
from gpvit.inference.results.segmentation import SegmentationResult
from gpvit.tasks.evaluate import evaluate
from gpvit.tasks.metrics import SegmentationScores

SHOWN_SCENES = 6
_LARGE_SIZE, _LARGE_DIGITS = (384, 512), (36, 48)
_LEAST_MISTAKEN = 0.01  # of the pixels of a class, to be worth a word
_OPACITY = 0.8


def _common(run: Run, model: nn.Module) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "model": {"name": run.settings["model"]["name"], "parameters": parameters},
        "training": {
            "seconds": run.summary["seconds"],
            "steps": run.summary["last"]["step"],
            "batch_size": run.settings["data"]["batch_size"],
            "seed": run.summary["seed"],
            "lr": run.settings["optim"]["lr"],
        },
        "weights": str(run.weights),
    }


def credits(split: Literal["train", "test"]) -> str:
    """Name the makers of the photographs beneath the scenes of a split."""
    return "; ".join(dict.fromkeys(photograph_credit(name) for name in PHOTOGRAPHS[split]))


def digits_facts(run: Run) -> dict[str, Any]:
    """Read all test digits: accuracy, confusion, examples."""
    predictor: Predictor[ClassificationResult] = Predictor(run.weights, batch_size=64)
    images, labels = digits_split("test")
    results = predictor([Image.fromarray(image) for image in images])
    probabilities = torch.stack([result.probabilities for result in results]).numpy()
    answers, surest = probabilities.argmax(1), probabilities.max(1)
    right = answers == labels
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels, answers), 1)
    mistakes = counts - np.diag(np.diag(counts))
    truth, answer = np.unravel_index(mistakes.argmax(), mistakes.shape)

    def example(index: int) -> dict[str, Any]:
        bars = [(name, share, number == labels[index]) for name, number, share in results[index].top(3)]
        image = Image.fromarray(images[index]).resize((128, 128), Image.Resampling.BICUBIC)
        return {"image": image, "caption": f"test digit {index}: a {labels[index]}", "bars": bars}

    found, wrong = np.flatnonzero(right), np.flatnonzero(~right)
    return {
        **_common(run, predictor.model),
        "test": {"accuracy": float(right.mean()), "images": len(labels), "wrong": len(wrong)},
        "confidence": float(surest.mean()),
        "worst_mistake": (truth, answer, mistakes.max(), counts[truth].sum()),
        "charts": [
            charts.lines("Loss", {"training": run.curve("train/loss"), "test": run.curve("val/loss")}, run.axis),
            charts.lines("Test accuracy", {"test": run.curve("val/top1")}, run.axis, percent=True),
        ],
        "confusion": charts.confusion(counts),
        "seen": _training_digits(run),
        "right": [example(found[place]) for place in np.unique(labels[found], return_index=True)[1]],
        "doubtful": [example(index) for index in found[surest[found].argsort()][:5]],
        "mistaken": [example(index) for index in wrong[(-surest[wrong]).argsort()][:10]],
    }


def _training_digits(run: Run) -> list[tuple[Image.Image, Image.Image]]:
    """One training digit of each class, as it is and as the network sees it."""
    data: Any = Digits(**run.data_options)
    data.setup("fit")
    raw, labels = digits_split("train")
    first = np.unique(labels, return_index=True)[1]
    varied, _ = data.train_collate([data.train_set[index] for index in first])
    seen = (varied[:, 0] * data.preprocessing.std[0] + data.preprocessing.mean[0]).clamp(0, 1).mul(255).byte().numpy()
    return [
        (Image.fromarray(raw[index]).resize((64, 64), Image.Resampling.NEAREST), Image.fromarray(image))
        for index, image in zip(first, seen, strict=True)
    ]


def segmentation_facts(run: Run) -> dict[str, Any]:
    """Label all test scenes and a larger one: IoU by class, examples."""
    data = SegmentationScenes(**run.data_options)
    predictor: Predictor[SegmentationResult] = Predictor(run.weights)
    scores = evaluate(predictor.model, data)
    iou, found = ({name: each[score] for name, each in scores["classes"].items()} for score in ("iou", "acc"))
    iou, found = ({name: share for name, share in each.items() if found[name] is not None} for each in (iou, found))
    samples = list(data.samples("val"))
    results = predictor([sample.image for sample in samples])
    names, colors = results[0].class_names, results[0].colors
    worst = min(iou, key=iou.__getitem__)
    pairs = list(zip(samples, results, strict=True))
    answers = np.concatenate([result.labels[sample.mask == names.index(worst)] for sample, result in pairs])
    shares = dict(zip(names, np.bincount(answers, minlength=len(names)) / len(answers), strict=True))
    taken = sorted((name for name in names if name != worst), key=lambda name: -shares[name])

    scene = digit_scene("test", 0, data.seed, _LARGE_SIZE, _LARGE_DIGITS)
    window = SlidingWindow(size=run.settings["data"]["image_size"])
    windows: Predictor[SegmentationResult] = Predictor(predictor.model, inferer=window)
    large = windows(image := Image.fromarray(scene.image))
    large_scores = SegmentationScores(len(names))
    large_scores.update(torch.from_numpy(large.labels), torch.from_numpy(scene.labels))
    return {
        **_common(run, predictor.model),
        "test": {
            "miou": scores["miou"],
            "pixel_accuracy": scores["aacc"],
            "iou": iou,
            "scenes": scores["images"],
        },
        "worst": worst,
        "worst_found": shares[worst],
        "taken_for": [(name, shares[name]) for name in taken[:2] if shares[name] >= _LEAST_MISTAKEN],
        "colors": list(zip(names, colors, strict=True))[1:],
        "charts": [
            charts.lines("Loss", {"training": run.curve("train/loss")}, run.axis),
            charts.lines("Mean IoU of the test scenes", {"mean IoU": run.curve("val/miou")}, run.axis, percent=True),
        ],
        "class_charts": [_class_chart("IoU", iou, iou), _class_chart("Part of its pixels that is found", found, iou)],
        "examples": [
            (
                sample.image,
                overlay_labels(sample.image, sample.mask, colors, _OPACITY),
                result.overlay(_OPACITY),
                float((result.labels == sample.mask).mean()),
            )
            for sample, result in pairs[:SHOWN_SCENES]
        ],
        "large": (image, overlay_labels(image, scene.labels, colors, _OPACITY), large.overlay(_OPACITY)),
        "large_miou": float(large_scores.compute()["miou"]),
    }


def detection_facts(run: Run) -> dict[str, Any]:
    """Score the detector and show what it finds in test scenes."""
    data = DetectionScenes(**run.data_options)
    predictor: Predictor[DetectionResult] = Predictor(run.weights)
    scores = evaluate(predictor.model, data)
    ap = {name: each for name, each in scores["classes"].items() if each["box_ap"] is not None}
    box_ap, mask_ap = ({name: each[f"{kind}_ap"] for name, each in ap.items()} for kind in ("box", "mask"))
    shown = [data.samples("val")[index] for index in range(SHOWN_SCENES)]
    results = predictor([scene.image for scene in shown])
    curves = {"box AP": run.curve("val/box_ap"), "mask AP": run.curve("val/mask_ap")}
    return {
        **_common(run, predictor.model),
        "test": scores,
        "worst": min(box_ap, key=box_ap.__getitem__),
        "charts": [
            charts.lines("Loss", {"training": run.curve("train/loss")}, run.axis),
            charts.lines("AP of the test scenes", curves, run.axis, percent=True),
        ],
        "class_charts": [_class_chart("Box AP", box_ap, box_ap), _class_chart("Mask AP", mask_ap, box_ap)],
        "examples": [_boxes(scene, result) for scene, result in zip(shown, results, strict=True)],
    }


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


def _class_chart(title: str, values: Mapping[str, float], order: Mapping[str, float]) -> bytes:
    """Draw a figure of each class, in the order of another figure, the worst in orange."""
    names = sorted(values, key=lambda name: -order[name])
    colours = [charts.BLUE] * (len(names) - 1) + [charts.ORANGE]
    return charts.bars(title, {name: values[name] for name in names}, colours, longest=1)
