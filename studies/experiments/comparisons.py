"""What is compared: token mixing in scenes of digits (Tables 7 and 9), and a task that cannot be solved locally."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import gpvit
from gpvit.data.segmentation import DigitScenes
from gpvit.inference.results.segmentation import SegmentationResult
from studies.experiments.experiment import Experiment, Scores, scenes_of
from studies.experiments.key_scenes import KeyScene, KeyScenes
from studies.report import COLOURS

NEAREST = (0, 45, 65, 85, 105)
"""Least distance between digit and key, in pixels, of each part that the accuracy is given for."""

_PARTS = tuple(f"from_{distance}" for distance in NEAREST)
_BEYOND = 150  # the corner across is 141 pixels away


def score_last(run: Path) -> dict[str, float]:
    """Read what the weights after the last step score: none were chosen by it."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {"miou": metrics["last"]["val/miou"]}


def draw_runs(figure: Figure, scores: Scores) -> None:
    """Draw a dot for each run and a line at each mean, in percent."""
    axes = figure.add_subplot()
    for place, (label, runs) in enumerate(scores.items()):
        values, colour = 100 * runs[:, 0], COLOURS[0] if label.startswith("GP") else COLOURS[4]
        axes.plot(values, np.full(len(values), place), "o", color=colour, alpha=0.75)
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2.5)
    axes.set(xlabel="mIoU (%), a dot for each seed, a line at the mean", yticks=range(len(scores)), yticklabels=scores)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def score_digits(run: Path) -> dict[str, float | None]:
    """Score the last weights of a run: how many digits were rightly labelled or left out, by their distance."""
    data = scenes_of(run, KeyScenes)
    scenes = [data.scene("val", index) for index in range(data.num_scenes["val"])]
    predictor: gpvit.Predictor[SegmentationResult] = gpvit.Predictor(run / "last.safetensors")
    results = predictor([scene.image for scene in scenes])
    answers = [decisions(scene, result.labels) for scene, result in zip(scenes, results, strict=True)]
    targets, labelled, distances = (np.concatenate(values) for values in zip(*answers, strict=True))
    part = _part(distances)
    scores = {"accuracy": balanced_accuracy(targets, labelled)}
    for number, name in enumerate(_PARTS):
        scores[name] = balanced_accuracy(targets[part == number], labelled[part == number])
    return scores


def explain_keys(data: KeyScenes) -> str:
    """Say what the task is, and of how many digits each score is."""
    scenes = [data.scene("val", index) for index in range(data.num_scenes["val"])]
    counts = np.bincount(_part(np.concatenate([scene.distances for scene in scenes])), minlength=len(NEAREST))
    size = " x ".join(map(str, data.preprocessing.input_size[1:]))
    return (
        "SegFormer on GPViT-nano; the blocks 1, 4, 7 and 10 differ, and the other eight: without attention, tokens "
        "meet in their depthwise convolutions alone, over 3 x 3 tokens of 8 pixels. "
        f"In each scene, {size} pixels, one digit stands in a framed corner. Of the others, half equal it and half are "
        "all of one other kind, so that nothing but the corner tells which are wanted; there are the digits "
        f"{', '.join(map(str, data.kinds))}. A digit is decided rightly if at least half of its ink is labelled and it "
        "was wanted, or less and it was not; wanted digits and others count alike, so that 50 % is chance. The columns "
        "are distances from the middle of a digit to the middle of the corner, with "
        f"{', '.join(map(str, counts))} digits; of 80 % of 250, the sampling error is 2.5."
    )


def _part(distances: np.ndarray) -> np.ndarray:
    return np.asarray(np.digitize(distances, NEAREST) - 1)


def decisions(scene: KeyScene, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tell of each digit outside of the frame whether it equals the key, whether it was labelled, and how far it is.

    Args:
        scene: The truth.
        labels: `(H, W)`, what a model predicts for each pixel: 0 for all else.

    Returns:
        Three arrays `(N,)`. A digit is labelled where at least half of its ink is, as whichever digit.
    """
    labelled = np.array([(labels[mask] > 0).mean() >= 0.5 for mask in scene.masks], dtype=bool)
    return scene.targets, labelled, scene.distances


def balanced_accuracy(targets: np.ndarray, labelled: np.ndarray) -> float | None:
    """Return the mean of two shares: of digits like the key that are labelled, and of others that are not.

    Chance is 0.5; None if there are no digits of one kind.
    """
    if targets.all() or not targets.any():
        return None
    return float((labelled[targets].mean() + (~labelled[~targets]).mean()) / 2)


def draw_distances(figure: Figure, scores: Scores) -> None:
    """Draw the accuracy over the distance, a line for each exchange, with the range of its seeds."""
    axes = figure.add_subplot()
    middles = [(low + high) / 2 for low, high in zip(NEAREST, (*NEAREST[1:], _BEYOND), strict=True)]
    for number, (label, runs) in enumerate(scores.items()):
        parts = 100 * runs[:, 1:]
        colour, style = COLOURS[number % len(COLOURS)], "-" if label.startswith("no local") else "--"
        axes.plot(middles, parts.mean(0), style, marker="o", color=colour, label=label)
        axes.fill_between(middles, parts.min(0), parts.max(0), color=colour, alpha=0.12, linewidth=0)
    axes.axhline(50, color="#999999", linewidth=1)
    axes.set(xlabel="distance between digit and key (pixels)", ylabel="digits decided rightly (%)", ylim=(45, 101))
    figure.legend(loc="outside right upper", fontsize=8)


EXCHANGE = Experiment(
    name="exchange",
    title="Labelling digits on photographs: what stands in the place of group propagation",
    data=DigitScenes,
    score=score_last,
    headers={"miou": "mIoU (%)"},
    draw=draw_runs,
    explain=lambda _: (
        "SegFormer on GPViT-nano with LePE stripes; only the blocks 1, 4, 7 and 10 differ. The ink of digits on "
        "photographs is labelled, 11 classes, at one scale."
    ),
    quick={"data": {"train_scenes": 32, "test_scenes": 8}},
)

KEYS = Experiment(
    name="keys",
    title="Labelling the digits that equal a key far away: accuracy by the block that exchanges information",
    data=KeyScenes,
    score=score_digits,
    headers={
        "accuracy": "digits decided rightly (%)",
        **{
            name: f"{low} to {high} px" if high else f"from {low} px"
            for name, low, high in zip(_PARTS, NEAREST, (*NEAREST[1:], 0), strict=True)
        },
    },
    draw=draw_distances,
    explain=explain_keys,
    quick={"data": {"train_scenes": 16, "test_scenes": 8}},
)

EXPERIMENTS = {experiment.name: experiment for experiment in (EXCHANGE, KEYS)}
"""The experiments by name."""
