"""A task that cannot be solved locally: to label the digits that equal the one in a framed corner, and no others."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gpvit.data.segmentation import KeyScenes
from gpvit.data.synthetic.key_scenes import KeyScene
from gpvit.inference.predictor import Predictor
from studies.charts import COLOURS
from studies.experiments.examples import scenes_of
from studies.experiments.experiment import Experiment, Scores

NEAREST = (0, 45, 65, 85, 105)
"""Least distance between target and key, in pixels, of each part that the accuracy is given for."""

_PARTS = tuple(f"from_{distance}" for distance in NEAREST)
_BEYOND = 150  # the corner across is 141 pixels away


def judge_digits(run: Path) -> dict[str, float | None]:
    """Score the last weights of a run: how many digits were rightly labelled or left out, by their distance."""
    data = scenes_of(run, KeyScenes)
    scenes = [data.scene("val", index) for index in range(data.num_scenes["val"])]
    results = Predictor(run / "last.safetensors")([scene.image for scene in scenes])
    answers = [decisions(scene, result.labels) for scene, result in zip(scenes, results, strict=True)]
    wanted, labelled, distances = (np.concatenate(values) for values in zip(*answers, strict=True))
    part = _part(distances)
    scores = {"accuracy": balanced_accuracy(wanted, labelled)}
    for number, name in enumerate(_PARTS):
        scores[name] = balanced_accuracy(wanted[part == number], labelled[part == number])
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
    """Tell of each digit outside of the frame whether it was wanted, whether it was labelled, and how far it is.

    Args:
        scene: The truth.
        labels: `(H, W)`, what a model says of each pixel: 0 for what is not wanted.

    Returns:
        Three arrays `(N,)`. A digit is labelled where at least half of its ink is, as whichever digit.
    """
    labelled = np.array([(labels[mask] > 0).mean() >= 0.5 for mask in scene.masks], dtype=bool)
    return scene.wanted, labelled, scene.distances


def balanced_accuracy(wanted: np.ndarray, labelled: np.ndarray) -> float | None:
    """Return the mean of the share of wanted digits that were labelled and of others that were not; chance is 0.5.

    None if there are no digits of one kind.
    """
    if wanted.all() or not wanted.any():
        return None
    return float((labelled[wanted].mean() + (~labelled[~wanted]).mean()) / 2)


def paint_distances(figure: Figure, scores: Scores) -> None:
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


KEYS = Experiment(
    name="keys",
    title="Labelling the digits that equal a key far away: accuracy by the block that exchanges information",
    table="keys",
    recipe="experiments/keys.yaml",
    data=KeyScenes,
    judge=judge_digits,
    headers={
        "accuracy": "digits decided rightly (%)",
        **{
            name: f"{low} to {high} px" if high else f"from {low} px"
            for name, low, high in zip(_PARTS, NEAREST, (*NEAREST[1:], 0), strict=True)
        },
    },
    paint=paint_distances,
    explain=explain_keys,
    quick={"data": {"init_args": {"train_scenes": 16, "test_scenes": 8}}},
)
