"""The page of published results: `python -m studies.recipe_table` writes docs/recipes.md from the recipes.

Every setting is what training would use, and each score is the one that the catalog of models holds, so that page,
recipes and code cannot differ unnoticed.
"""

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpvit.train.composition import Composition, compose, find_recipe
from gpvit.train.recipes import resolve_recipe
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

HEAD = """# Training every published number

Each line of the first table of a data set is one published result with the command that trains it; the second table
holds every setting, and where to change it. `python -m studies.recipe_table` writes this page from the recipes,
and a test holds it to them. The scores are the authors'; they were not measured again here.

The recipes follow the released configurations, which made the published weights. [Where the paper's text
differs](#the-papers-values), a file laid over a recipe gives its value.

## On how many GPUs

A recipe is for 16 GPUs, 8 on each of two machines. Start it on both, HOST being the first one's name:

```
torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m gpvit train RECIPE
srun --nodes 2 --ntasks-per-node 8 --gpus-per-node 8 gpvit train RECIPE        # the same on SLURM
```

On one machine of 8 GPUs, on one GPU, or on a CPU to try it out:

```
gpvit train RECIPE --trainer.num_nodes 1 --trainer.accumulate_grad_batches 2   # as many images a step as published
gpvit train RECIPE --trainer.num_nodes 1                                       # half as many, at half the rate
gpvit train RECIPE --trainer.num_nodes 1 --trainer.devices 1 --trainer.accumulate_grad_batches 16
gpvit train RECIPE --trainer.num_nodes 1 --trainer.devices 1 --trainer.accelerator cpu
```

The images of a step decide the learning rate: `lr` is for `base_batch_size` images, and with others it is scaled in
proportion, which is printed. An epoch has as many images whatever the devices; `trainer.max_steps` of ADE20K counts
steps, so fewer images a step see fewer images in all. Accumulated batches do not share the statistics of batch norms.

Where the data are is said by `--data.root FOLDER`. Any setting of the tables can be overridden like this: the name in
the first column is the option. More on many GPUs, and on stopping and going on: [Scaling](scaling.md).

## How to read the tables of settings

Where the four sizes differ, their values stand as L1 / L2 / L3 / L4; bold are values other than the first column's.
What is not listed is off, or, of `trainer`, Lightning's default; `gpvit train RECIPE --print_config` prints all of it.
The last column names the file, in the folder `recipes`, that says a value, or the class whose default it is.
"""

NOTES = """What the settings do not say:

- ImageNet: the authors trained on images that their converter had decoded and compressed again as JPEG, of OpenCV's
  standard quality; here images are read as they are.
- ImageNet: Mixup and CutMix pair each image with the one at the mirrored place of its batch, and the authors' code with
  one at a random place; batches are shuffled, so that both are random pairs, but here no image is paired with itself.
- ImageNet: images of an epoch that do not fill a last step are left out; the authors' loader fills it by repetition.
- COCO, schedule 3x: its file is missing from the authors' release. The epochs 27, 33 and 36 are the field's custom, and
  those of the first author's later code.
- COCO and ADE20K: batch norms are those of all GPUs together (`sync_batchnorm`), on ImageNet each GPU's own.

More in [The paper and the released code](paper-vs-code.md).
"""


def page() -> str:
    """Write the page, in Markdown."""
    sections = [HEAD]
    for title, families in TABLES.items():
        sections += [f"## {title}\n", results(families), settings(families)]
    sections += ["## The paper's values\n", overlays(), NOTES]
    return "\n".join(sections)


def results(families: Sequence[Family]) -> str:
    """Write the table of a data set's results, each with its recipe, its command and its score."""
    rows = []
    for family in families:
        for name in family.names:
            model = compose([find_recipe(name)]).settings["model"]["init_args"]["name"]
            metrics = find(model).weights[family.tag].metrics
            scores = ", ".join(f"{value} % {METRICS[metric]}" for metric, value in metrics.items())
            rows.append([f"`{model}.{family.tag}`", scores, f"`gpvit train {name}`"])
    return _table(["Result", "Published", "Command"], rows)


def settings(families: Sequence[Family]) -> str:
    """Write the table of all settings of a data set's recipes, and of where each is said.

    Of the Trainer's, they are those that any published recipe says; all others are Lightning's defaults.
    """
    columns = [[dict(_flat(resolve_recipe([name]))) for name in family.names] for family in families]
    composed = [compose([find_recipe(name)]) for family in families for name in family.names]
    keys = dict.fromkeys(key for column in columns for config in column for key in config)
    rows = []
    for part in ("model", "data", "trainer"):
        for key in (key for key in keys if key.startswith(f"{part}.")):
            cells = [_cell([config.get(key) for config in column]) for column in columns]
            if key in _said_by_any() if part == "trainer" else set(cells) != {_value(None)}:
                bold = [cell if cell == cells[0] else f"**{cell}**" for cell in cells]
                rows.append([f"`{_option(key)}`", *bold, _said_in(key, composed, columns[0][0])])
    return _table(["Setting", *(family.title for family in families), "Said in"], rows)


def overlays() -> str:
    """Write the table of the files that give the paper's values."""
    rows = []
    for path in sorted(find_recipe("recipes/paper/imagenet_clip.yaml").parent.glob("*.yaml")):
        comment = " ".join(re.findall(r"^# (.*)", path.read_text(encoding="utf-8"), re.MULTILINE))
        words, command = re.split(r"\s+(?=gpvit train)", comment)
        recipe = command.split()[2]
        before, after = (
            dict(_flat(resolve_recipe(files))) for files in ([recipe], [recipe, f"recipes/paper/{path.name}"])
        )
        changes = [
            f"`{_option(key)}` {_value(before.get(key))} → {_value(value)}"
            for key, value in after.items()
            if before.get(key) != value
        ]
        rows.append([words.partition(": ")[2], "<br>".join(changes), f"`{command}`"])
    return _table(["What", "Changes", "Command"], rows)


def write(path: Path) -> None:
    """Write the page to a file, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(page(), encoding="utf-8")
    os.replace(temporary, path)


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _option(key: str) -> str:
    return key.replace(".init_args", "")


@cache
def _said_by_any() -> frozenset[str]:
    """Name the settings that any published recipe says."""
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


def _said_in(key: str, composed: Sequence[Composition], config: dict[str, Any]) -> str:
    """Name the files that say a setting, without the folder of recipes; else the class whose default it is."""
    files = {composition.origin(tuple(key.split("."))) for composition in composed}
    if len(composed) > 1 and len(files) == len(composed):
        return "each recipe"
    part = key.split(".")[0]
    default = config.get(f"{part}.class_path", "gpvit train").rpartition(".")[2]
    names = [f"`{'/'.join(file.parts[-2:])}`" if file else f"default of `{default}`" for file in _sorted_files(files)]
    return ", ".join(names)


def _sorted_files(files: set[Path | None]) -> list[Path | None]:
    """Sort files by name; None, for no file, comes last."""
    return sorted(files, key=lambda file: (file is None, file or Path()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/recipes.md"), help="where to (default: docs/recipes.md)")
    write(parser.parse_args().out)
