"""Inside the shipped models: what the groups look at, what the parts cost, how fast they are."""

from typing import Any

import torch
from PIL import Image

from gpvit.data.synthetic.photographs import load_photograph, photograph_credit
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.demo import charts
from gpvit.demo.shipped import LABELLER, READER
from gpvit.inference.groups import draw_groups
from gpvit.layers.group_propagation import GroupPropagationBlock
from gpvit.profile.benchmark import benchmark
from gpvit.profile.cost import profile_model
from gpvit.profile.workload import Case
from gpvit.zoo.factory import open_model

_PHOTOGRAPHS = ("astronaut", "coffee", "rocket")
_SCENE_SIZE = (256, 320)
_SIDE = 256  # shorter side of photographs, in pixels: a grid of 32 tokens and more
_HEATS = 5
_SPEED_SIZES, _QUICK_SPEED_SIZES = (64, 128, 256, 512), (32, 64)
_BATCH = 4
_GROUP, _LOCAL, _REST = "GP blocks", "local blocks", "the rest"
_COLOURS = {_GROUP: charts.ORANGE, _LOCAL: charts.BLUE, _REST: charts.GRAY}


def group_facts() -> dict[str, Any]:
    """Draw the segmenter's groups on a scene and on photographs."""
    model = open_model(LABELLER)
    scene = Image.fromarray(digit_scene("test", 1, size=_SCENE_SIZE, digits=(5, 7), digit_size=(40, 100)).image)
    pictures = {
        "A scene of digits": (scene, ""),
        **{name.capitalize(): (load_photograph(name), photograph_credit(name)) for name in _PHOTOGRAPHS},
    }
    drawn = {name: (draw_groups(model, picture, _SIDE), credit) for name, (picture, credit) in pictures.items()}
    first = next(iter(drawn.values()))[0]
    return {
        "pictures": [
            (name, credit, [("the image", each.image), *((f"block {b.block}", each.hard(b)) for b in each.blocks)])
            for name, (each, credit) in drawn.items()
        ],
        "heats": [
            (f"block {block.block}, group {group}: {low:.1f} to {high:.1f}", first.soft(block, group))
            for block in first.blocks
            for group in block.most_distinct(_HEATS)
            for low, high in [block.range_of(group)]
        ],
        "columns": _HEATS,
        "numbers": [len(block.strength) for block in first.blocks],
    }


def cost_facts(quick: bool) -> dict[str, Any]:
    """Count the reader's parameters and multiply-accumulates by part, and time it over image sizes."""
    model: Any = open_model(READER)
    side = model.pretrained_cfg["input_size"][-1]
    cost = profile_model(model, (side, side), model.in_chans)

    def kind(part: str) -> str:
        if not part.startswith("blocks."):
            return _REST
        return _GROUP if isinstance(model.get_submodule(part), GroupPropagationBlock) else _LOCAL

    colours = [_COLOURS[kind(row.part)] for row in cost.rows]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = _QUICK_SPEED_SIZES if quick else _SPEED_SIZES
    cases = [Case("gpvit_nano", (size, size), _BATCH, device=device) for size in sizes]
    speed = benchmark(cases, rounds=2 if quick else 5, warmup=1, memory=False)
    return {
        "side": side,
        "macs": cost.macs,
        "charts": [
            charts.bars("Parameters", {row.part: row.parameters for row in cost.rows}, colours),
            charts.bars("Multiply-accumulates", {row.part: row.macs for row in cost.rows}, colours),
        ],
        "speed": {"rounds": speed.settings["rounds"], "rows": [dict(row) for row in speed.rows]},
        "machine": speed.machine,
        "batch": _BATCH,
    }
