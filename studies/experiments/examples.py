"""What the trained backbones of an experiment say, beside the truth."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from matplotlib.figure import Figure

from gpvit.data.segmentation.scenes import SceneData
from gpvit.data.visualise import overlay_labels
from gpvit.inference.figures import new_figure
from gpvit.inference.predictor import Predictor

SCENES = 4
_CELL = 1.15  # width of a picture in inches


Scenes = TypeVar("Scenes", bound=SceneData)


def scenes_of(run: Path, data: type[Scenes]) -> Scenes:
    """Return the scenes that a run was trained on and is scored on, as its settings describe them."""
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return data(**settings["data"]["init_args"])


def draw_examples(runs: Mapping[str, Path], data: type[SceneData]) -> Figure:
    """Draw the first test scenes: a row each, with the truth and with what each model says.

    Args:
        runs: Folders of finished runs, by what stands above their columns.
        data: Class of their scenes.
    """
    scenes = scenes_of(next(iter(runs.values())), data)
    pairs = [scenes.samples("val")[index] for index in range(min(SCENES, scenes.num_scenes["val"]))]
    pictures = [pair.image for pair in pairs]
    labels = {"truth": [pair.mask for pair in pairs]}
    for name, run in runs.items():
        labels[name] = [result.labels for result in Predictor(run / "last.safetensors")(pictures)]
    columns = {"scene": pictures}
    gray = [picture.convert("L").convert("RGB") for picture in pictures]  # all colour then tells a class
    for name, masks in labels.items():
        columns[name] = [overlay_labels(p, mask, scenes.colors) for p, mask in zip(gray, masks, strict=True)]
    figure = new_figure(_CELL * len(columns), _CELL * (len(pairs) + 0.5))
    cells = figure.subplots(len(pairs), len(columns), squeeze=False)
    for column, (name, images) in enumerate(columns.items()):
        cells[0, column].set_title(textwrap.fill(name, 13), fontsize=7)
        for axes, image in zip(cells[:, column], images, strict=True):
            axes.imshow(image)
            axes.set_axis_off()
    return figure
