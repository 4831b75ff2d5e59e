"""What pretrained weights are good for: a digit reader learns letters, from few images and in several ways."""

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, product, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from peft import LoraConfig, get_peft_model

from gpvit.demo.letters import write_letters
from gpvit.devices import describe_machine
from gpvit.errors import UserError
from gpvit.train.recipes import read_recipe
from studies.experiments.experiment import mean_and_spread
from studies.report import COLOURS, MARKERS, Column, ResultTable

RECIPE = "recipes/letters/finetune.yaml"
PER_CLASS = (4, 16, 64)
VALIDATION = 20  # images of each letter


@dataclass(frozen=True)
class Method:
    """A way to learn: options of `gpvit train` beside the recipe, and perhaps what peft's LoraConfig takes."""

    label: str
    options: Mapping[str, str]
    lora: Mapping[str, Any] = field(default_factory=dict)


METHODS = (
    Method("random weights", {"model.weights": "null", "optim.optimizer": "muon", "optim.lr": "0.01"}),
    Method("pretrained, frozen backbone", {"optim.freeze": "backbone", "optim.lr": "0.006"}),
    Method("pretrained, LoRA", {"optim.lr": "0.004"}, {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}),
    Method("pretrained, layer-wise rates", {"optim.layer_decay": "0.75", "optim.lr": "0.003"}),
    Method("pretrained, one rate", {"optim.lr": "0.002"}),
)


def fine_tune(method: Method, letters: Path, per_class: int, seed: int, **options: Any) -> dict[str, float]:
    """Train by the recipe and a method, and score the last weights.

    Args:
        method: How.
        letters: Folder of images.
        per_class: How many of each letter to train on; the seed chooses them.
        seed: Also of new weights and of the order of the images.
        options: More options of `gpvit train`, with `__` for the dot.

    Returns:
        `top1`, a share of 1, the parameters that `learned`, and the `seconds` of training.
    """
    given = {"data.root": letters, "data.per_class": per_class, "data.subset_seed": seed, **method.options}
    given |= {name.replace("__", "."): value for name, value in options.items()}
    recipe = read_recipe([RECIPE, *(text for name, value in given.items() for text in (f"--{name}", str(value)))])
    task, data, config = recipe.build()
    torch.manual_seed(seed)
    task.build(data)
    if method.lora:
        task.network = get_peft_model(task.network, LoraConfig(modules_to_save=["head", "pool"], **method.lora))
    data.distribute(0, 1, seed)
    data.setup("fit")
    loader = data.train_dataloader()
    sizes = {"epoch_steps": len(loader), "images_per_step": data.batch_size}
    optimizer, schedule = task.create_optimizer(total_steps=config.steps, **sizes)
    started = time.perf_counter()
    task.train()
    for step, batch in enumerate(islice(chain.from_iterable(repeat(loader)), config.steps)):
        task.training_step(batch, step)["loss"].backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - started
    task.eval()
    with torch.inference_mode():
        for number, batch in enumerate(data.val_dataloader()):
            task.validation_step(batch, number)
    learned = sum(parameter.numel() for parameter in task.network.parameters() if parameter.requires_grad)
    return {"top1": task.validation_metrics()["val/top1"], "learned": learned, "seconds": seconds}


def compare(
    out: str | Path,
    seeds: int = 3,
    per_class: Sequence[int] = PER_CLASS,
    command: str = "",
    log: Callable[[str], None] = print,
    **options: Any,
) -> tuple[ResultTable, list[dict[str, Any]], list[Path]]:
    """Train by every method on every number of images with every seed; write each run and their table.

    A run that `out` holds is not repeated, whatever its settings were: another study wants another folder. `options`
    are those of `fine_tune`. Beside the table come its runs, and the files written.

    Raises:
        UserError: There are no seeds.
    """
    if seeds < 1:
        raise UserError(f"seeds is {seeds}; give 1 or more")
    columns = [Column(name, name) for name in ("method", "images", "seed", "top1", "learned", "seconds")]
    runs = ResultTable("fine_tuning_runs", "Fine-tuning: every run", columns, rows := _finished(Path(out)))
    done = {(row["method"], row["images"], row["seed"]) for row in rows}
    with TemporaryDirectory() as folder:
        write_letters(letters := Path(folder, "letters"), max(per_class), VALIDATION)
        for seed, images, method in product(range(seeds), per_class, METHODS):
            if (method.label, images, seed) not in done:
                came = fine_tune(method, letters, images, seed, **options)
                rows.append({"method": method.label, "images": images, "seed": seed, **came})
                log(f"{method.label}, {images} images, seed {seed}: {came['top1']:.1%}")
                runs.write(out)
    table = summary(rows, command)
    return table, rows, [*runs.write(out), *table.write(out)]


def _finished(out: Path) -> list[dict[str, Any]]:
    if not (file := out / "fine_tuning_runs.csv").is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            {**row, "images": int(row["images"]), "seed": int(row["seed"]), "learned": int(row["learned"])}
            | {name: float(row[name]) for name in ("top1", "seconds")}
            for row in csv.DictReader(lines)
        ]


def summary(rows: Sequence[Mapping[str, Any]], command: str) -> ResultTable:
    """Give a row to each method, and to each number of images the mean of its seeds with their standard deviation."""
    counts, seeds = sorted({row["images"] for row in rows}), sorted({row["seed"] for row in rows})
    lines = []
    for label in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == label]
        parts = {n: np.array([row["top1"] for row in own if row["images"] == n]) for n in counts}
        scores = {f"top1_{n}": mean_and_spread(part) for n, part in parts.items()}
        seconds = float(np.median([row["seconds"] for row in own]))
        lines.append({"method": label, "learned": own[0]["learned"], **scores, "seconds": seconds})
    columns = [Column("method", "from, and how"), Column("learned", "parameters that learn", 0)]
    columns += [Column(f"top1_{n}", f"top-1, {n} images a letter (%)") for n in counts]
    ways = "; ".join(f"{m.label}: {' '.join(f'--{n} {v}' for n, v in m.options.items())}" for m in METHODS)
    notes = [
        f"`{RECIPE}`: `gpvit_nano.digits` learns A to Z, drawn by the fonts that come with matplotlib; top-1 is on "
        f"{26 * VALIDATION} images by other fonts, after the last step. Everyone takes as many steps.",
        f"Options beside the recipe: {ways}. LoRA is peft's, of rank 8 in every linear layer, with pooling and "
        "classifier learned whole.",
        f"Seeds {seeds[0]} to {seeds[-1]}, of images and new weights: mean and standard deviation; seconds are the "
        f"median. {describe_machine()}.",
    ]
    title = "Fine-tuning: a reader of digits learns letters"
    return ResultTable("fine_tuning", title, [*columns, Column("seconds", "training (s)", 0)], lines, notes, command)


def draw_curves(figure: Figure, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the accuracy over the number of images: a line for each method, with the range of its seeds."""
    axes = figure.add_subplot()
    counts = sorted({row["images"] for row in rows})
    for number, label in enumerate(dict.fromkeys(row["method"] for row in rows)):
        own = [[row["top1"] for row in rows if (row["method"], row["images"]) == (label, n)] for n in counts]
        colour = COLOURS[number]
        axes.plot(counts, [100 * np.mean(part) for part in own], marker=MARKERS[number], color=colour, label=label)
        low, high = ([100 * pick(part) for part in own] for pick in (min, max))
        axes.fill_between(counts, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="training images of each letter", ylabel="top-1 on other fonts (%)", xticks=counts)
    axes.set_xticks(counts, labels=[str(count) for count in counts])
    axes.legend(loc=(0.02, 0.17), fontsize=8)
