"""Do the groups of a GPViT find objects? Judged on scenes whose objects are known, before training and after.

A block has two attentions, and both assign tokens to groups: in grouping, a token belongs to the group that gives it
the largest share of itself; in ungrouping, to the group that has the largest share in its answer. Every number is set
against what needs no network: the same groups with their tokens shuffled, squares of tokens, and tokens grouped by
their mean colour.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gpvit
from gpvit.data.synthetic.scenes import Scene, digit_scene
from gpvit.errors import UserError
from gpvit.inference.groups import GroupImage, draw_groups
from gpvit.zoo.factory import is_untrained, open_model
from studies.group_metrics import agreement, colours, shuffled, squares, summary, token_truth
from studies.report import COLOURS, Column, ResultTable

MEASURES = {"best_iou": "best IoU", "ari": "ARI", "foreground_ari": "foreground ARI", "recall": "foreground recall"}
"""What `studies.group_metrics.agreement` measures, and what readers call it."""

ATTENTIONS = {"grouping": "assignment", "ungrouping": "answering"}
"""What assigns tokens to groups, and the attribute of `gpvit.inference.groups.BlockGroups` that does it."""

WITHOUT_NETWORK = ("squares", "colours")
_LARGEST_DIGIT = 60  # pixels; the scenes' own default, but for scenes smaller than that
_COLOUR = dict(zip((*ATTENTIONS, *WITHOUT_NETWORK), (COLOURS[0], COLOURS[1], COLOURS[4], COLOURS[2]), strict=True))

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """What groups are judged on.

    Args:
        scenes: Number of test scenes.
        size: Side of a scene in pixels.
        seeds: Number of untrained models, from the seeds 0, 1, ...; each measure is their mean.
    """

    scenes: int = 100
    size: int = 128
    seeds: int = 3

    def __post_init__(self) -> None:
        if min(self.scenes, self.seeds) < 1:
            raise UserError(f"{self.scenes} scenes and {self.seeds} seeds: give at least 1 of each")


def judge(checkpoints: Sequence[str | Path], setting: Setting | None = None) -> ResultTable:
    """Measure how well the groups of each block agree with the true objects.

    Args:
        checkpoints: Classifiers, segmenters or detectors on a GPViT: files of weights, or names with a tag.
        setting: What they are judged on.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If none is given, one is untrained, or has no group propagation blocks; it is named.
    """
    if not checkpoints:
        raise UserError("no checkpoint was given; name files such as demo/segmentation/last.safetensors")
    for checkpoint in checkpoints:
        if is_untrained(checkpoint):
            raise UserError(f"{checkpoint} has no weights; name a checkpoint, or published weights as gpvit_l1.in1k")
    setting = setting or Setting()
    models: list[tuple[str, Any]] = [(str(checkpoint), open_model(checkpoint)) for checkpoint in checkpoints]
    names = Counter(model.gpvit_config["name"] for _, model in models)
    rows: list[Row] = []
    for path, model in models:
        name = model.gpvit_config["name"]
        label = name if names[name] == 1 else f"{name} ({path})"
        try:
            rows += [{"model": label, **row} for row in judge_model(model, setting)]
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error
    return ResultTable("groups", "Groups against true objects", _COLUMNS, rows, _notes(setting))


def judge_model(model: Any, setting: Setting) -> list[Row]:
    """Judge a trained model beside untrained ones of its kind: a row for each block, attention and state of weights.

    Args:
        model: From `gpvit.load` or `gpvit.create_model`, in evaluation mode.
        setting: What it is judged on.

    Raises:
        ValueError: If the model has no group propagation blocks.
    """
    trained = _groups(model, setting)
    untrained = [_groups(_untrained(model, seed), setting) for seed in range(setting.seeds)]
    stride, scenes = trained[0].stride, _scenes(setting.scenes, setting.size)
    truths = [token_truth(scene.masks, stride) for scene in scenes]
    rows: list[Row] = []
    for place, block in enumerate(trained[0].blocks):
        for attention, attribute in ATTENTIONS.items():
            for weights, runs in (("trained", [trained]), ("untrained", untrained)):
                assigned = [[getattr(groups.blocks[place], attribute) for groups in run] for run in runs]
                about = {"block": block.block, "assigned": attention, "weights": weights}
                rows.append({**about, "groups": len(block.strength), **_judged(assigned, truths)})
    for count in sorted({row["groups"] for row in rows}, reverse=True):
        grids = [squares((truth.shape[0], truth.shape[1]), count) for truth in truths]
        tints = [colours(scene.image, stride, count) for scene in scenes]
        for name, groups in zip(WITHOUT_NETWORK, (grids, tints), strict=True):
            rows.append({"assigned": name, "groups": count, **_judged([groups], truths)})
    return rows


def _untrained(model: Any, seed: int) -> Any:
    """Create the same model anew, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: Any = gpvit.create_model(model.gpvit_config["name"], **model.gpvit_config["kwargs"])
    fresh.pretrained_cfg = model.pretrained_cfg  # so that images are prepared alike
    return fresh.eval()


def _groups(model: Any, setting: Setting) -> list[GroupImage]:
    return [draw_groups(model, scene.image, setting.size) for scene in _scenes(setting.scenes, setting.size)]


@cache
def _scenes(count: int, size: int) -> list[Scene]:
    digit_size = (10, min(_LARGEST_DIGIT, size))
    return [digit_scene("test", index, size=(size, size), digit_size=digit_size) for index in range(count)]


def _judged(runs: list[list[np.ndarray]], truths: list[np.ndarray]) -> dict[str, Any]:
    """Judge assignments `[run][scene]` in percent, with errors over scenes and, where it is not 0, chance."""
    random = np.random.default_rng(0)
    mean, error = _over_scenes(runs, truths)
    chance, _ = _over_scenes([[shuffled(groups, random) for groups in run] for run in runs], truths)
    row: dict[str, Any] = {"used": float(np.mean([len(np.unique(groups)) for run in runs for groups in run]))}
    for key in MEASURES:
        for name, measures in ((key, mean), (f"{key}_error", error), (f"{key}_chance", chance)):
            if name not in ("ari_chance", "foreground_ari_chance"):
                row[name] = None if np.isnan(measures[key]) else 100 * measures[key]
    return row


def _over_scenes(runs: list[list[np.ndarray]], truths: list[np.ndarray]) -> tuple[dict[str, float], dict[str, float]]:
    judged = [[agreement(groups, truth) for groups, truth in zip(run, truths, strict=True)] for run in runs]
    # First the mean over the runs: the error is one over scenes.
    return summary(
        [{key: float(np.mean([run[key] for run in s])) for key in MEASURES} for s in zip(*judged, strict=True)]
    )


_COLUMNS = (
    Column("model", "model"),
    Column("block", "block"),
    Column("assigned", "assigned by"),
    Column("weights", "weights"),
    Column("groups", "groups"),
    Column("used", "with tokens", 1),
    Column("best_iou", "best IoU (%)", 1),
    Column("best_iou_error", "±", 1),
    Column("best_iou_chance", "shuffled", 1),
    Column("ari", "ARI (%)", 1),
    Column("ari_error", "±", 1),
    Column("foreground_ari", "foreground ARI (%)", 1),
    Column("foreground_ari_error", "±", 1),
    Column("recall", "foreground recall (%)", 1),
    Column("recall_error", "±", 1),
    Column("recall_chance", "shuffled", 1),
)


def _notes(setting: Setting) -> list[str]:
    return [
        f"{setting.scenes} test scenes of `digit_scenes`, {setting.size} x {setting.size} pixels; ± is the standard "
        "error over the scenes. Untrained: the same model with random weights and batch norms as they begin; mean over "
        f"{setting.seeds} seed{'s' if setting.seeds > 1 else ''}. "
        "Assigned by grouping: a token belongs to the group that gives it the largest share of itself; by ungrouping: "
        "to the group that has the largest share in its answer; both averaged over the heads. With tokens: groups that "
        "any token belongs to, mean over the scenes.",
        "Truth: a token belongs to whatever has most of its pixels, a digit (its convex hull) or the background. Best "
        "IoU: intersection over union of each digit with the one group that fits it best, mean over the digits. ARI: "
        "adjusted Rand index over all tokens, the background being one class; foreground ARI: over the digits' tokens "
        "alone, in scenes with two digits or more. Foreground recall: share of the digits' tokens in groups more than "
        "half of whose tokens are digits'.",
        "To judge the numbers by: shuffled, the same groups with their tokens anywhere (both ARI are then 0 on "
        "average); squares, as many rectangles of tokens; colours, as many clusters of the tokens' mean colours "
        "(k-means), which is strong here, as each digit is painted in one colour.",
    ]


def draw_agreement(figure: Figure, table: ResultTable) -> None:
    """Draw the table of `judge`: a column for each model, a row for each measure."""
    models = list(dict.fromkeys(row["model"] for row in table.rows))
    figure.set_size_inches(1.6 + 2.9 * len(models), 9)
    panels = figure.subplots(len(MEASURES), len(models), sharex="col", sharey="row", squeeze=False)
    for column, model in enumerate(models):
        rows = [row for row in table.rows if row["model"] == model]
        for line, (key, name) in enumerate(MEASURES.items()):
            _draw_measure(panels[line, column], rows, key)
            panels[line, 0].set_ylabel(f"{name} (%)")
        panels[0, column].set_title(model.replace(" (", "\n("), fontsize=10)
        panels[-1, column].set_xlabel("GP block")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(2 * len(models), 4), fontsize=9)


def _draw_measure(axes: Axes, rows: list[Row], key: str) -> None:
    def values(chosen: list[Row], key: str) -> list[float]:
        return [np.nan if row[key] is None else row[key] for row in chosen]

    groups = {row["block"]: row["groups"] for row in rows if row.get("block") is not None}
    places = range(len(groups))
    for attention in ATTENTIONS:
        color = _COLOUR[attention]
        for weights, face, line in (("trained", color, "-"), ("untrained", "white", "--")):
            chosen = [row for row in rows if (row["assigned"], row.get("weights")) == (attention, weights)]
            style: dict[str, Any] = {"marker": "o", "markerfacecolor": face, "markersize": 5, "capsize": 2, "ls": line}
            label, errors = f"{attention}, {weights}", values(chosen, f"{key}_error")
            axes.errorbar(places, values(chosen, key), errors, label=label, color=color, linewidth=1.3, **style)
            if f"{key}_chance" in chosen[0] and weights == "trained":
                axes.plot(places, values(chosen, f"{key}_chance"), ":", color=color, linewidth=1.3)
    for name in WITHOUT_NETWORK:
        level = {row["groups"]: row for row in rows if row["assigned"] == name}
        heights = values([level[count] for count in groups.values()], key)
        axes.plot(places, heights, "-.", color=_COLOUR[name], linewidth=1.3, label=name)
    if f"{key}_chance" in rows[0]:
        axes.plot([], [], ":", color="black", label="trained, shuffled")
    axes.set_xticks(places, [str(block) for block in groups])
