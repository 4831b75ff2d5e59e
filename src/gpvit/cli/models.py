"""The verb `gpvit models`."""

import json as json_format
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from gpvit.errors import UserError
from gpvit.zoo.catalog import MODELS, split_system

# Parameters, and multiply-accumulates of one image, as `gpvit profile` counts them: to count takes seconds.
_COSTS = {
    "gpvit_nano": (1_232_584, 860_414_016),
    "gpvit_tiny": (4_427_992, 2_853_886_080),
    "gpvit_l1": (9_589_848, 6_095_803_584),
    "gpvit_l2": (24_162_680, 15_650_141_664),
    "gpvit_l3": (36_654_056, 23_437_165_440),
    "gpvit_l4": (75_484_456, 48_149_471_616),
    "upernet_gpvit_nano": (3_151_460, 51_504_396_288),
    "upernet_gpvit_tiny": (8_758_988, 134_453_323_776),
    "upernet_gpvit_l1": (37_674_532, 588_300_684_288),
    "upernet_gpvit_l2": (53_426_784, 806_819_660_544),
    "upernet_gpvit_l3": (66_838_476, 983_752_470_528),
    "upernet_gpvit_l4": (107_493_260, 1_526_414_635_008),
    "segformer_gpvit_nano": (1_277_646, 5_295_419_392),
    "segformer_gpvit_tiny": (4_551_606, 16_569_716_736),
    "segformer_gpvit_l1": (9_851_278, 34_497_473_536),
    "segformer_gpvit_l2": (24_353_226, 84_785_632_000),
    "segformer_gpvit_l3": (36_969_270, 126_277_562_368),
    "segformer_gpvit_l4": (75_805_430, 255_740_293_120),
    "mask_rcnn_gpvit_nano": (3_911_404, 66_701_287_776),
    "mask_rcnn_gpvit_tiny": (11_652_552, 174_708_344_512),
    "mask_rcnn_gpvit_l1": (33_518_676, 472_854_675_744),
    "mask_rcnn_gpvit_l2": (50_308_778, 715_160_567_376),
    "mask_rcnn_gpvit_l3": (64_870_808, 915_361_045_056),
    "mask_rcnn_gpvit_l4": (109_585_720, 1_534_305_340_224),
    "retinanet_gpvit_nano": (3_388_304, 64_042_944_096),
    "retinanet_gpvit_tiny": (8_917_004, 147_260_068_032),
    "retinanet_gpvit_l1": (21_459_448, 333_228_758_304),
    "retinanet_gpvit_l2": (37_908_990, 568_066_617_936),
    "retinanet_gpvit_l3": (52_181_724, 762_353_495_616),
    "retinanet_gpvit_l4": (96_023_420, 1_364_389_502_784),
}
_SIZES = {
    "upernet": "512x2048",
    "segformer": "512x512",
    "mask_rcnn": "800x1280",
    "retinanet": "800x1280",
}  # that MACs of a system are told for; of a classifier 224x224


def models(filters: list[str], json: bool = False) -> None:
    """List the models, their size and their published scores.

    Args:
        filters: Parts of names, tasks or origins (paper, ours); models that match all of them are listed.
        json: Print JSON in place of a table.
    """
    wanted = {
        name: entry
        for name, entry in MODELS.items()
        if all(any(part.lower() in fact for fact in (name, entry.task, entry.origin)) for part in filters)
    }
    if not wanted:
        raise UserError(f"no model matches {' '.join(filters)!r}; there are {', '.join(MODELS)}")
    rows = [facts(name) for name in wanted]
    if json:
        print(json_format.dumps(rows, indent=1))
    else:
        Console().print(_table(rows))


def facts(name: str) -> dict[str, Any]:
    """Return what is listed of a model, as plain data."""
    entry = MODELS[name]
    parameters, macs = _COSTS[name]
    return {
        "name": name,
        "task": entry.task,
        "origin": entry.origin,
        "parameters": parameters,
        "macs": macs,
        "macs_size": _SIZES.get(split_system(name)[0], "224x224"),
        "weights": {tag: weights.metrics for tag, weights in entry.weights.items()},
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    sizes = ", ".join(f"{system} {size}" for system, size in _SIZES.items())
    title = f"Models\nGMACs at 224x224, {sizes}, with attention's products; first scores as published, in percent"
    table = Table(Column("model", no_wrap=True), title=title)
    table.add_column("parameters", justify="right", min_width=len("109,585,720"))
    table.add_column("GMACs", justify="right", min_width=len("1534.31"))
    table.add_column("score", justify="right")
    table.add_column("weights")
    table.add_column("origin")
    for row in rows:
        scores = [f"{score} {name}" for metrics in row["weights"].values() for name, score in list(metrics.items())[:1]]
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e9:.2f}",
            ", ".join(scores),
            ", ".join(row["weights"]),
            row["origin"],
        )
    return table
