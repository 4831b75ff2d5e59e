"""Inside the demo's classifier: what its groups look at, what its parts cost, how fast it is."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from gpvit.data.synthetic.digits import digits_split
from gpvit.data.synthetic.photographs import load_photograph, photograph_credit
from gpvit.demo import charts
from gpvit.demo.runs import Run
from gpvit.inference.groups import BlockGroups, draw_groups
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.profile.benchmark import benchmark
from gpvit.profile.cost import profile_model
from gpvit.profile.workload import Case
from gpvit.zoo.factory import load

_CLASSES = (0, 3, 4, 7)
_PHOTOGRAPHS = ("china", "astronaut", "coffee", "rocket")
_PHOTOGRAPH_SIDE = 256  # shorter side, in pixels: a grid of 32 tokens and more
_HEATS = 5
_DIGITS_COMPARED, _QUICK_DIGITS_COMPARED = 50, 5
_SPEED_SIZES, _QUICK_SPEED_SIZES = (64, 128, 256, 512), (32, 64)
_SPEED_BATCH = 4
_GROUP, _LOCAL, _REST = "GP blocks", "local blocks", "the rest"
_COLOURS = {_GROUP: charts.ORANGE, _LOCAL: charts.BLUE, _REST: charts.GRAY}


def group_facts(run: Run, quick: bool) -> dict[str, Any]:
    """Draw the groups on digits and photographs, and measure how alike they are."""
    model = load(run.weights)
    images, labels = digits_split("test")
    drawn = [draw_groups(model, images[int(np.flatnonzero(labels == digit)[0])]) for digit in _CLASSES]
    heats = [
        (f"block {block.block}, group {group}: {low:.1f} to {high:.1f}", drawn[1].soft(block, group))
        for block in drawn[1].blocks
        for group in block.most_distinct(_HEATS)
        for low, high in [block.range_of(group)]
    ]
    shown = images[: _QUICK_DIGITS_COMPARED if quick else _DIGITS_COMPARED]
    compared = [draw_groups(model, image).blocks for image in shown]
    overlap = [
        (
            f"block {block.block}",
            len(block.strength),
            float(np.mean([mean_overlap(blocks[place]) for blocks in compared])),
            float(np.mean([blocks[place].strength.max(axis=(1, 2)).mean() for blocks in compared])),
        )
        for place, block in enumerate(drawn[0].blocks)
    ]
    photographs = []
    for name in _PHOTOGRAPHS:
        groups = draw_groups(model, load_photograph(name), _PHOTOGRAPH_SIDE)
        photographs.append((name.capitalize(), photograph_credit(name), _mosaics("as the network sees it", groups)))
    return {
        "digits": [
            row for digit, groups in zip(_CLASSES, drawn, strict=True) for row in _mosaics(f"a {digit}", groups)
        ],
        "columns": 1 + len(drawn[0].blocks),
        "heats": heats,
        "heat_digit": _CLASSES[1],
        "heat_columns": _HEATS,
        "compared": len(compared),
        "overlap": overlap,
        "photographs": photographs,
        "numbers": [len(block.strength) for block in drawn[0].blocks],
    }


def _mosaics(caption: str, groups: Any) -> list[tuple[str, Image.Image]]:
    """The image, then for each block every token in the colour of its group."""
    return [
        (caption, groups.image.convert("RGB")),
        *((f"block {block.block}", groups.hard(block)) for block in groups.blocks),
    ]


def mean_overlap(block: BlockGroups) -> float:
    """Return how much of their attention two groups of a block have in common, in [0, 1], as a mean over all pairs."""
    maps = block.strength.reshape(len(block.strength), -1)
    one, other = np.triu_indices(len(maps), k=1)
    return float(np.minimum(maps[one], maps[other]).mean())


def cost_facts(run: Run, quick: bool) -> dict[str, Any]:
    """Count parameters and multiply-accumulates by part, and time the network over image sizes."""
    model: Any = load(run.weights)
    side = int(run.settings["data"]["image_size"])
    cost = profile_model(model, (side, side), model.in_chans)

    def kind(part: str) -> str:
        if not part.startswith("blocks."):
            return _REST
        return _GROUP if isinstance(model.get_submodule(part), GroupPropagationBlock) else _LOCAL

    colours = [_COLOURS[kind(row.part)] for row in cost.rows]
    members = {name: [row for row in cost.rows if kind(row.part) == name] for name in _COLOURS} | {"all": cost.rows}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = _QUICK_SPEED_SIZES if quick else _SPEED_SIZES
    cases = [Case(run.settings["model"]["name"], (size, size), _SPEED_BATCH, device=device) for size in sizes]
    speed = benchmark(cases, rounds=2 if quick else 5, warmup=1, memory=False)
    return {
        "side": side,
        "macs": cost.macs,
        "charts": [
            charts.bars("Parameters", {row.part: row.parameters for row in cost.rows}, colours),
            charts.bars("Multiply-accumulates", {row.part: row.macs for row in cost.rows}, colours),
        ],
        "kinds": [
            (
                name,
                len(rows),
                sum(row.parameters for row in rows),
                sum(row.macs for row in rows),
                sum(row.macs - row.macs_without_attention for row in rows),
            )
            for name, rows in members.items()
        ],
        "speed": {"rounds": speed.settings["rounds"], "rows": [dict(row) for row in speed.rows]},
        "machine": speed.machine,
        "batch": _SPEED_BATCH,
    }
