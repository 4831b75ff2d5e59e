"""The page of published results: `python -m docs.recipes_page` writes docs/recipes.md from the recipes.

Every setting is what training would use, and each score is the one that the catalog of models holds, so that page,
recipes and code cannot differ unnoticed.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from gpvit.io import write_text
from gpvit.train.composition import Composition, compose, find_recipe
from gpvit.train.recipes import read_recipe
from gpvit.zoo.catalog import find

LEVELS = (1, 2, 3, 4)
METRICS = {"top1": "top-1", "top5": "top-5", "box_ap": "box AP", "mask_ap": "mask AP", "miou": "mIoU"}


@dataclass(frozen=True)
class Family:
    """Recipes of the sizes L1 to L4 that are alike but for the size.

    Args:
        title: Head of its column.
        recipe: Of a size, `{}` being its number; from the folder of recipes on.
        tag: Of the published weights.
    """

    title: str
    recipe: str
    tag: str

    @property
    def names(self) -> list[str]:
        """The four recipes, as the command line takes them."""
        return [f"recipes/{self.recipe.format(level)}.yaml" for level in LEVELS]


TABLES = {
    "ImageNet-1k": [Family("GPViT", "imagenet/gpvit_l{}", "in1k")],
    "COCO 2017": [
        Family(f"{title} {schedule}", f"coco/{name}_gpvit_l{{}}_{schedule}", f"coco_{schedule}")
        for title, name in (("Mask R-CNN", "mask_rcnn"), ("RetinaNet", "retinanet"))
        for schedule in ("1x", "3x")
    ],
    "ADE20K": [
        Family("UPerNet", "ade20k/upernet_gpvit_l{}", "ade20k"),
        Family("SegFormer", "ade20k/segformer_gpvit_l{}", "ade20k"),
    ],
}


def page() -> str:
    """Write the page, in Markdown: the tables within the words of `recipes_page.template`."""
    tables = [f"## {title}\n\n{results(families)}\n{settings(families)}" for title, families in TABLES.items()]
    words = Template(Path(__file__).with_suffix(".template").read_text(encoding="utf-8"))
    return words.substitute(tables="\n".join(tables), overlays=overlays())


def results(families: Sequence[Family]) -> str:
    """Write the table of a data set's results, each with its recipe, its command and its score."""
    rows = []
    for family in families:
        for name in family.names:
            model = compose([find_recipe(name)]).settings["model"]["name"]
            metrics = find(model).weights[family.tag].metrics
            scores = ", ".join(f"{value} % {METRICS[metric]}" for metric, value in metrics.items())
            rows.append([f"`{model}.{family.tag}`", scores, f"`gpvit train {name}`"])
    return _table(["Result", "Published", "Command"], rows)


def settings(families: Sequence[Family]) -> str:
    """Write the table of all settings of a data set's recipes, and of where each is given.

    Of the group `train`, they are those that any published recipe gives; all others are defaults.
    """
    columns = [[dict(_flat(read_recipe([name]).settings)) for name in family.names] for family in families]
    composed = [compose([find_recipe(name)]) for family in families for name in family.names]
    rows = []
    for key in dict.fromkeys(key for column in columns for config in column for key in config):
        cells = [_cell([config.get(key) for config in column]) for column in columns]
        if key in _given_by_any() if key.startswith("train.") else set(cells) != {_value(None)}:
            bold = [cell if cell == cells[0] else f"**{cell}**" for cell in cells]
            rows.append([f"`{key}`", *bold, _given_in(key, composed)])
    return _table(["Setting", *(family.title for family in families), "Given in"], rows)


def overlays() -> str:
    """Write the table of the files that give the paper's values."""
    rows = []
    for path in sorted(find_recipe("recipes/paper/imagenet_clip.yaml").parent.glob("*.yaml")):
        comment = " ".join(re.findall(r"^# (.*)", path.read_text(encoding="utf-8"), re.MULTILINE))
        words, command = re.split(r"\s+(?=gpvit train)", comment)
        recipe = command.split()[2]
        before, after = (
            dict(_flat(read_recipe(files).settings)) for files in ([recipe], [recipe, f"recipes/paper/{path.name}"])
        )
        changes = [
            f"`{key}` {_value(before.get(key))} → {_value(value)}"
            for key, value in after.items()
            if before.get(key) != value
        ]
        rows.append([words.partition(": ")[2], "<br>".join(changes), f"`{command}`"])
    return _table(["What", "Changes", "Command"], rows)


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@cache
def _given_by_any() -> frozenset[str]:
    """Name the settings that any published recipe gives."""
    names = [name for families in TABLES.values() for family in families for name in family.names]
    return frozenset(key for name in names for key, _ in _flat(compose([find_recipe(name)]).settings))


def _cell(values: Sequence[Any]) -> str:
    """Write the values of the four sizes: once if they are one, else each."""
    texts = [_value(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _given_in(key: str, composed: Sequence[Composition]) -> str:
    """Name the files that give a setting, without the folder of recipes; else the class whose default it is."""
    places = [composition.places.get(tuple(key.split("."))) for composition in composed]
    files = {place[0] if place else None for place in places}
    if len(composed) > 1 and len(files) == len(composed):
        return "each recipe"
    config = composed[0].settings
    task = f"{find(config['model']['name']).task.capitalize()}Task"
    owners = {"model": task, "optim": task, "data": config["data"]["class"].rpartition(".")[2], "train": "TrainConfig"}
    default = f"default of `{owners[key.partition('.')[0]]}`"
    return ", ".join(
        [f"`{'/'.join(file.parts[-2:])}`" for file in sorted(files - {None})] + [default] * (None in files)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/recipes.md"), help="where to (default: docs/recipes.md)")
    write_text(parser.parse_args().out, page())
