"""What came of the demo's trainings: figures, images and charts for the report, as plain data."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling

from gpvit.data.classification.digits import Digits
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.images import read_image
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


def common(run: Run, parameters: int) -> dict[str, Any]:
    """Describe a training: model, steps, time."""
    return {
        "model": {"name": run.settings["model"]["name"], "parameters": parameters},
        "training": {
            "seconds": run.summary["seconds"],
            "steps": run.steps,
            "batch_size": run.settings["data"]["batch_size"],
            "seed": run.summary["seed"],
            "lr": run.settings["optim"]["lr"],
        },
        "weights": str(run.weights),
    }


def credits(split: Literal["train", "test"]) -> str:
    """Name the makers of the photographs beneath the scenes of `train` or `test`."""
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
        bars = [
            (each.class_name, each.probability, each.class_index == labels[index]) for each in results[index].top(3)
        ]
        image = Image.fromarray(images[index]).resize((128, 128), Resampling.BICUBIC)
        return {"image": image, "caption": f"test digit {index}: a {labels[index]}", "bars": bars}

    first = [
        int(np.flatnonzero(right & (labels == digit))[0]) for digit in range(10) if (right & (labels == digit)).any()
    ]
    doubtful = sorted(np.flatnonzero(right), key=lambda index: surest[index])[:5]
    wrong = sorted(np.flatnonzero(~right), key=lambda index: -surest[index])
    return {
        **common(run, sum(p.numel() for p in predictor.model.parameters())),
        "test": {"accuracy": float(right.mean()), "images": len(labels), "wrong": int((~right).sum())},
        "confidence": float(surest.mean()),
        "worst_mistake": (int(truth), int(answer), int(mistakes.max()), int(counts[truth].sum())),
        "charts": [
            charts.lines("Loss", {"training": run.curve("train/loss"), "test": run.curve("val/loss")}),
            charts.lines("Test accuracy", {"test": run.curve("val/top1")}, percent=True),
        ],
        "confusion": charts.confusion(counts),
        "seen": _training_digits(run),
        "right": [example(index) for index in first],
        "doubtful": [example(int(index)) for index in doubtful],
        "mistaken": [example(int(index)) for index in wrong[:10]],
    }


def _training_digits(run: Run) -> list[tuple[Image.Image, Image.Image]]:
    """One training digit of each class, as it is and as the network sees it."""
    data = Digits(**{name: value for name, value in run.settings["data"].items() if name != "class"})
    data.setup("fit")
    raw, labels = digits_split("train")
    first = [int(np.flatnonzero(labels == digit)[0]) for digit in range(data.num_classes)]
    assert data.train_collate is not None
    assert data.train_set is not None
    varied, _ = data.train_collate([data.train_set[index] for index in first])
    seen = (varied[:, 0] * data.preprocessing.std[0] + data.preprocessing.mean[0]).clamp(0, 1).mul(255).byte().numpy()
    return [(Image.fromarray(raw[index]), Image.fromarray(image)) for index, image in zip(first, seen, strict=True)]


def segmentation_facts(run: Run) -> dict[str, Any]:
    """Label all test scenes and a larger one: IoU by class, examples."""
    data = SegmentationScenes(**{name: value for name, value in run.settings["data"].items() if name != "class"})
    predictor: Predictor[SegmentationResult] = Predictor(run.weights)
    samples = list(data.samples("val"))
    results = predictor([sample.image for sample in samples])
    names, colors = results[0].class_names, results[0].colors
    scores = SegmentationScores(len(names))
    for sample, result in zip(samples, results, strict=True):
        scores.update(torch.from_numpy(result.labels), torch.from_numpy(sample.mask))
    computed, pixels = scores.compute(), scores.confmat.sum(1)
    iou, found = (_by_class(names, computed[name], pixels) for name in ("iou", "acc"))
    worst = min(iou, key=iou.__getitem__)
    row = scores.confmat[names.index(worst)] / scores.confmat[names.index(worst)].sum()
    taken = sorted(
        ((float(share), name) for share, name in zip(row, names, strict=True) if name != worst), reverse=True
    )

    def example(sample: Any, result: Any) -> tuple[Image.Image, Image.Image, Image.Image, float]:
        truth = overlay_labels(sample.image, sample.mask, colors, _OPACITY)
        return sample.image, truth, result.overlay(_OPACITY), float((result.labels == sample.mask).mean())

    scene = digit_scene("test", 0, data.seed, _LARGE_SIZE, _LARGE_DIGITS)
    windows: Predictor[SegmentationResult] = Predictor(predictor.model, inferer=SlidingWindow(size=data.image_size))
    large = windows(read_image(scene.image))
    large_scores = SegmentationScores(len(names))
    large_scores.update(torch.from_numpy(large.labels), torch.from_numpy(scene.labels))
    return {
        **common(run, sum(p.numel() for p in predictor.model.parameters())),
        "test": {
            "miou": float(computed["miou"]),
            "pixel_accuracy": float(computed["aacc"]),
            "iou": iou,
            "scenes": len(samples),
        },
        "worst": worst,
        "worst_found": float(row[names.index(worst)]),
        "taken_for": [(name, share) for share, name in taken[:2] if share >= _LEAST_MISTAKEN],
        "colors": list(zip(names, colors, strict=True))[1:],
        "charts": [
            charts.lines("Loss", {"training": run.curve("train/loss")}, "step"),
            charts.lines("Mean IoU of the test scenes", {"mean IoU": run.curve("val/miou")}, "step", percent=True),
        ],
        "class_charts": [_class_chart("IoU", iou, iou), _class_chart("Part of its pixels that is found", found, iou)],
        "examples": [example(*pair) for pair in zip(samples[:SHOWN_SCENES], results, strict=False)],
        "large": (
            scene.image,
            overlay_labels(read_image(scene.image), scene.labels, colors, _OPACITY),
            large.overlay(_OPACITY),
        ),
        "large_miou": float(large_scores.compute()["miou"]),
    }


def detection_facts(run: Run) -> dict[str, Any]:
    """Score the detector and show what it finds in test scenes."""
    data = DetectionScenes(**{name: value for name, value in run.settings["data"].items() if name != "class"})
    predictor: Predictor[DetectionResult] = Predictor(run.weights)
    scores = evaluate(predictor.model, data)
    ap = {name: each for name, each in scores["classes"].items() if each["box_ap"] is not None}
    scenes = data.samples("val")
    shown = [scenes[index] for index in range(min(SHOWN_SCENES, len(scenes)))]
    results = predictor([scene.image for scene in shown])
    box_ap = {name: each["box_ap"] for name, each in ap.items()}
    return {
        **common(run, sum(p.numel() for p in predictor.model.parameters())),
        "test": scores,
        "worst": min(box_ap, key=box_ap.__getitem__),
        "class_ap": ap,
        "charts": [
            charts.lines("Loss", {"training": run.curve("train/loss")}, "step"),
            charts.lines(
                "AP of the test scenes",
                {"box AP": run.curve("val/box_ap"), "mask AP": run.curve("val/mask_ap")},
                "step",
                percent=True,
            ),
        ],
        "class_charts": [
            _class_chart(f"{kind.capitalize()} AP", {name: each[f"{kind}_ap"] for name, each in ap.items()}, box_ap)
            for kind in ("box", "mask")
        ],
        "examples": [_boxes(scene, result) for scene, result in zip(shown, results, strict=True)],
    }


def _boxes(scene: Any, result: Any) -> tuple[Image.Image, Image.Image, int]:
    """Draw the truth and the surest detections of a scene, as many as it has digits, on gray."""
    gray = scene.image.convert("L").convert("RGB").resize((2 * scene.image.width, 2 * scene.image.height))
    count = len(scene.objects.labels)

    def drawn(boxes: Any, labels: Any, masks: Any, scores: list[float] | None = None) -> Image.Image:
        names, colors = (
            [of_class[int(label) - 1] for label in labels] for of_class in (result.class_names, result.colors)
        )
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


def _by_class(names: tuple[str, ...], values: torch.Tensor, pixels: torch.Tensor) -> dict[str, float]:
    return {name: float(value) for name, value, there in zip(names, values, pixels, strict=True) if there}
