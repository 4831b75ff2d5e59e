"""Do the groups of a GPViT find objects? Judged on scenes whose objects are known, before training and after.

`python -m studies.groups.agreement CHECKPOINT...` writes `groups.md`, `groups.csv` and a chart. A block has two
attentions, and both assign tokens to groups: in grouping, a token belongs to the group that gives it the largest share
of itself; in ungrouping, to the group that has the largest share in its answer. Every number is set against what needs
no network: the same groups with their tokens shuffled, squares of tokens, and tokens grouped by their mean colour.
"""

import argparse
import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from gpvit.data.synthetic.scenes import Scene, digit_scene
from gpvit.inference.groups import GroupImage, draw_groups
from gpvit.zoo.catalog import create_model
from gpvit.zoo.opening import is_untrained, open_model
from studies.groups.chart import ATTENTIONS, MEASURES, WITHOUT_NETWORK, Row, draw_agreement
from studies.groups.metrics import Agreement, agreement, colours, shuffled, squares, summary, token_truth
from studies.tables.table import Column, ResultTable

_LARGEST_DIGIT = 60  # pixels; the scenes' own default, but for scenes smaller than that


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
            raise ValueError(f"{self.scenes} scenes and {self.seeds} seeds: give at least 1 of each")


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
        raise ValueError("no checkpoint was given; name files such as demo/segmentation/last.safetensors")
    setting = setting or Setting()
    models = [(str(checkpoint), _trained(checkpoint)) for checkpoint in checkpoints]
    names = Counter(_config(model)["name"] for _, model in models)
    rows: list[Row] = []
    for path, model in models:
        name = _config(model)["name"]
        label = name if names[name] == 1 else f"{name} ({path})"
        try:
            rows += [{"model": label, **row} for row in judge_model(model, setting)]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    settings = [text for name, value in vars(setting).items() for text in (f"--{name}", str(value))]
    command = shlex.join(["python", "-m", "studies.groups.agreement", *map(str, checkpoints), *settings])
    return ResultTable("groups", "Groups against true objects", _COLUMNS, rows, _notes(setting), command)


def judge_model(model: nn.Module, setting: Setting) -> list[Row]:
    """Judge a trained model beside untrained ones of its kind: a row for each block, attention and state of weights.

    Args:
        model: From `gpvit.load` or `gpvit.create_model`, in evaluation mode.
        setting: What it is judged on.

    Raises:
        ValueError: If the model has no group propagation blocks.
    """
    trained = _pictures(model, setting)
    untrained = [_pictures(_untrained(model, seed), setting) for seed in range(setting.seeds)]
    stride = trained[0].stride
    truths = _truths(setting.scenes, setting.size, stride)
    rows: list[Row] = []
    for place, block in enumerate(trained[0].blocks):
        for attention, attribute in ATTENTIONS.items():
            for weights, runs in (("trained", [trained]), ("untrained", untrained)):
                assigned = [[getattr(picture.blocks[place], attribute) for picture in run] for run in runs]
                about = {"block": block.block, "assigned": attention, "weights": weights}
                rows.append({**about, "groups": len(block.strength), **_judged(assigned, truths)})
    for count in sorted({row["groups"] for row in rows}, reverse=True):
        scenes = _scenes(setting.scenes, setting.size)
        grids = [squares((truth.shape[0], truth.shape[1]), count) for truth in truths]
        tints = [colours(scene.image, stride, count) for scene in scenes]
        for name, groups in zip(WITHOUT_NETWORK, (grids, tints), strict=True):
            rows.append({"assigned": name, "groups": count, **_judged([groups], truths)})
    return rows


def _trained(checkpoint: str | Path) -> nn.Module:
    if is_untrained(checkpoint):
        raise ValueError(f"{checkpoint} has no weights; name a checkpoint, or published weights as gpvit_l1.in1k")
    return open_model(checkpoint)


def _untrained(model: nn.Module, seed: int) -> nn.Module:
    """Create the same model anew, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = create_model(_config(model)["name"], **_config(model)["kwargs"])
    fresh.pretrained_cfg = model.pretrained_cfg  # so that pictures are prepared alike
    return fresh.eval()


def _config(model: nn.Module) -> dict[str, Any]:
    return model.gpvit_config  # type: ignore[return-value]


def _pictures(model: nn.Module, setting: Setting) -> list[GroupImage]:
    return [draw_groups(model, scene.image, setting.size) for scene in _scenes(setting.scenes, setting.size)]


@cache
def _scenes(count: int, size: int) -> list[Scene]:
    digit_size = (10, min(_LARGEST_DIGIT, size))
    return [digit_scene("test", index, size=(size, size), digit_size=digit_size) for index in range(count)]


@cache
def _truths(count: int, size: int, stride: int) -> list[np.ndarray]:
    return [token_truth(scene.masks, stride) for scene in _scenes(count, size)]


def _judged(runs: list[list[np.ndarray]], truths: list[np.ndarray]) -> dict[str, Any]:
    """Judge assignments `[run][scene]` in percent, with errors over scenes and, where it is not 0, chance."""
    random = np.random.default_rng(0)
    mean, error = _over_scenes(runs, truths)
    chance, _ = _over_scenes([[shuffled(groups, random) for groups in run] for run in runs], truths)
    row: dict[str, Any] = {"used": float(np.mean([len(np.unique(groups)) for run in runs for groups in run]))}
    for key in MEASURES:
        row |= {key: _percent(mean, key), f"{key}_error": _percent(error, key), f"{key}_chance": _percent(chance, key)}
    return {key: value for key, value in row.items() if key not in ("ari_chance", "foreground_ari_chance")}


def _over_scenes(runs: list[list[np.ndarray]], truths: list[np.ndarray]) -> tuple[Agreement, Agreement]:
    judged = [[agreement(groups, truth) for groups, truth in zip(run, truths, strict=True)] for run in runs]
    # First the mean over the runs: the error is one over scenes.
    return summary([Agreement(*np.mean([astuple(one) for one in s], axis=0)) for s in zip(*judged, strict=True)])


def _percent(measures: Agreement, key: str) -> float | None:
    value = getattr(measures, key)
    return None if np.isnan(value) else 100 * value


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the checkpoints of the command line; print and write the table, and draw the chart."""
    parser = argparse.ArgumentParser(prog="python -m studies.groups.agreement", description=__doc__)
    parser.add_argument("checkpoints", nargs="+", metavar="CHECKPOINT", help="weights of a classifier or any system")
    for field in dataclasses.fields(Setting):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    parser.add_argument("--out", default="results", help="folder for the table and the chart")
    options = vars(parser.parse_args(arguments))
    checkpoints, out = options.pop("checkpoints"), options.pop("out")
    try:
        table = judge(checkpoints, Setting(**options))
    except (ValueError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    shown = [column for column in table.columns if column.key in ("model", "block", "assigned", "weights", *MEASURES)]
    Console().print(dataclasses.replace(table, columns=shown))  # all of them are too many for a terminal
    for path in (*table.write(out), *draw_agreement(table, out)):
        print(path)


if __name__ == "__main__":
    main()
