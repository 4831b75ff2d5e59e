"""Tables 7 and 9 of the paper on scenes of digits: what may stand in the place of group propagation."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gpvit.data.segmentation import DigitScenes
from studies.charts import COLOURS
from studies.experiments.experiment import Experiment, Scores


def last_score(run: Path) -> dict[str, float]:
    """Read what the weights after the last step score: none were chosen by it."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {"miou": metrics["last"]["val/miou"]}


def paint_runs(figure: Figure, scores: Scores) -> None:
    """Draw a dot for each run and a line at each mean, in percent."""
    axes = figure.add_subplot()
    for place, values in enumerate(100 * runs[:, 0] for runs in scores.values()):
        colour = COLOURS[0] if list(scores)[place].startswith("GP") else COLOURS[4]
        axes.plot(values, np.full(len(values), place), "o", color=colour, alpha=0.75)
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2.5)
    axes.set(xlabel="mIoU (%), a dot for each seed, a line at the mean", yticks=range(len(scores)), yticklabels=scores)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


EXCHANGE = Experiment(
    name="exchange",
    title="Labelling digits on photographs: what stands in the place of group propagation",
    table="exchange",
    recipe="experiments/exchange.yaml",
    data=DigitScenes,
    judge=last_score,
    headers={"miou": "mIoU (%)"},
    paint=paint_runs,
    explain=lambda _: (
        "SegFormer on GPViT-nano with LePE stripes; only the blocks 1, 4, 7 and 10 differ. The ink of digits on "
        "photographs is labelled, 11 classes, at one scale."
    ),
    quick={"data": {"init_args": {"train_scenes": 32, "test_scenes": 8}}},
)
