"""What pretrained weights are good for: a digit reader learns Greek letters, from few images and in several ways."""

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from peft import LoraConfig, get_peft_model

from gpvit.data.classification.digits import random_affine
from gpvit.devices import describe_machine
from gpvit.errors import UserError
from gpvit.tasks import ClassificationTask
from gpvit.tasks.optim import OptimConfig
from studies.experiments.experiment import mean_and_spread
from studies.experiments.letters import FONTS, LETTERS, Letters
from studies.report import COLOURS, MARKERS, Column, ResultTable

MODEL = "gpvit_nano"
PER_CLASS = (4, 16, 64)
BATCH = 32


@dataclass(frozen=True)
class Method:
    """A way to learn: the settings that `gpvit train` takes as `--optim.NAME`, and what it starts from."""

    label: str
    optim: Mapping[str, Any]
    pretrained: bool = True
    lora: Mapping[str, Any] = field(default_factory=dict)


METHODS = (
    Method("random weights", {"optimizer": "muon", "lr": 0.01, "betas": (0.9, 0.98)}, pretrained=False),
    Method("pretrained, frozen backbone", {"lr": 3e-3, "freeze": "backbone"}),
    Method("pretrained, LoRA", {"lr": 3e-3}, lora={"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}),
    Method("pretrained, layer-wise rates", {"lr": 2e-3, "layer_decay": 0.75}),
    Method("pretrained, one rate", {"lr": 1e-3}),
)


def fine_tune(method: Method, data: Letters, weights: str, steps: int, seed: int) -> dict[str, float]:
    """Train by a method, and return top-1 after the last step, a share of 1, what learned and how long it took."""
    torch.manual_seed(seed)
    optim = OptimConfig(warmup=0.1, **method.optim)
    plain: dict[str, Any] = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "label_smoothing": 0.1}
    task = ClassificationTask(MODEL, weights if method.pretrained else None, optim=optim, **plain)
    task.build(data)
    if method.lora:
        task.network = get_peft_model(task.network, LoraConfig(modules_to_save=["head", "pool"], **method.lora))
    optimizer, schedule = task.create_optimizer(total_steps=steps, epoch_steps=1, images_per_step=BATCH)
    images, labels = data.training_samples().tensors
    order = torch.cat([torch.randperm(len(images)) for _ in range(steps * BATCH // len(images) + 1)])
    started = time.perf_counter()
    task.train()
    for step, chosen in enumerate(order.split(BATCH)[:steps]):
        batch = random_affine(images[chosen], rotation_degrees=10, shift=0.1, zoom=0.1), labels[chosen]
        task.training_step(batch, step)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - started
    task.eval()
    with torch.inference_mode():
        images, labels = data.validation_samples().tensors
        guessed = torch.cat([task(part).argmax(1) for part in images.split(128)])
    learned = sum(parameter.numel() for parameter in task.parameters() if parameter.requires_grad)
    return {"top1": (guessed == labels).float().mean().item(), "learned": learned, "seconds": seconds}


def compare(
    out: str | Path,
    weights: str,
    seeds: int = 3,
    steps: int = 150,
    per_class: Sequence[int] = PER_CLASS,
    methods: Sequence[Method] = METHODS,
    command: str = "",
    log: Callable[[str], None] = print,
) -> tuple[ResultTable, list[dict[str, Any]], list[Path]]:
    """Train by every method on every number of images with every seed; write each run and their table.

    A run that `out` holds already is not repeated, whatever its settings were: another study wants another folder.

    Raises:
        UserError: There are no seeds or steps.
    """
    if min(seeds, steps) < 1:
        raise UserError(f"seeds is {seeds} and steps {steps}; give 1 or more of each")
    columns = [Column(name, name) for name in ("method", "images", "seed", "top1", "learned", "seconds")]
    runs = ResultTable("fine_tuning_runs", "Fine-tuning: every run", columns, rows := _finished(Path(out)))
    done = {(row["method"], row["images"], row["seed"]) for row in rows}
    for seed in range(seeds):
        for images in per_class:
            for method in methods:
                key = {"method": method.label, "images": images, "seed": seed}
                if tuple(key.values()) in done:
                    continue
                rows.append({**key, **fine_tune(method, Letters(images, seed), weights, steps, seed)})
                log(f"{method.label}, {images} images, seed {seed}: {rows[-1]['top1']:.1%}")
                runs.write(out)
    table = summary(rows, weights, steps, command)
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


def summary(rows: Sequence[Mapping[str, Any]], weights: str, steps: int, command: str) -> ResultTable:
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
    notes = [
        f"`{weights}` learns the {len(LETTERS)} small Greek letters, drawn by {len(FONTS['train'])} fonts and varied; "
        f"top-1 is on {20 * len(LETTERS)} images by {len(FONTS['val'])} fonts of another family. Everyone takes "
        f"{steps} steps of {BATCH} images, all varied alike; random weights learn by Muon, the others by AdamW. Rates "
        f"are in `studies/experiments/fine_tuning.py`.",
        f"Seeds {seeds[0]} to {seeds[-1]}, of images and weights: mean and standard deviation; seconds are the median. "
        f"Precision 32-true; {describe_machine()}.",
    ]
    title = "Fine-tuning: a digit reader learns another alphabet"
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
    axes.set(xlabel="training images of each letter", ylabel="top-1 on unseen fonts (%)", xticks=counts)
    axes.set_xticks(counts, labels=[str(count) for count in counts])
    axes.legend(loc="lower right", fontsize=8)
