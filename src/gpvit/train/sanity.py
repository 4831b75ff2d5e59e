"""Tries a recipe out in minutes: checks shapes and labels, overfits one batch, estimates time and memory."""

import math
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from statistics import median
from typing import Any

import torch

from gpvit.devices import peak_memory
from gpvit.errors import UserError
from gpvit.train.advice import suspicions
from gpvit.train.failures import explained
from gpvit.train.loop import Run
from gpvit.train.processes import launch
from gpvit.train.recipes import read_recipe, split_arguments

_PART = 0.3  # of its first value, to which the loss of one batch must fall
_WARMUP_STEPS = 5
_SETTLED = 3  # losses in a row, since heads that draw samples have a loss that jumps
_BATCHES = 8  # that are loaded and looked at
_VAL_BATCHES = 3
_SHOWN = 6  # classes in a line
_IGNORED = 255
_GIB = 2**30


@dataclass
class SanityReport:
    """Lines to print, each with what it is about, and what should be looked at before training."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def try_recipe(arguments: Sequence[str]) -> SanityReport:
    """Try a recipe out on one device, as `train_recipe` takes it, and write the sheet of its data into a run folder.

    `--steps` among the arguments, 200 by default, are those within which one batch must be overfitted.
    """
    names, options = split_arguments(arguments)
    steps, report = options.pop("steps", "200"), SanityReport()
    if not steps.isdecimal() or int(steps) < _WARMUP_STEPS:
        raise UserError(f"steps {steps}: give {_WARMUP_STEPS} or more")
    recipe = read_recipe([*names, *(f"--{name}={value}" for name, value in options.items())])
    task, data, config = recipe.build()
    config = replace(config, devices=1, nodes=1)
    with warnings.catch_warnings(record=True) as warned:  # such as of a warm-up that is longer than the run
        warnings.simplefilter("always", UserWarning)
        run = Run(launch(config), task, data, config, recipe.out, start=None)
    report.problems += [str(each.message) for each in warned if each.category is UserWarning]
    report.problems += suspicions(task, data, run.total_steps, run.images_per_step)
    if hasattr(data, "write_report"):
        data.write_report(recipe.out)
        report.facts.append(("sheet", str(recipe.out / "data.png")))
    with explained(run):
        batch, loading = _check_data(run, report)
        if learning := _overfit(run, batch, int(steps), report):
            _estimate(run, learning, loading, report)
    return report


def _check_data(run: Run, report: SanityReport) -> tuple[Any, float]:
    """Load training batches and describe them; return one of them, and the seconds to load one."""
    data, labels, images = run.data, Counter[str](), 0
    loader, ahead, begin = iter(run.loader), max(data.num_workers, 1), time.perf_counter()
    for index in range(min(len(run.loader), _BATCHES * ahead)):
        batch = next(loader)
        if index == ahead - 1:  # the workers' first batches come together
            begin = time.perf_counter()
        images += len(batch[0])
        labels.update(data.class_names[label] for label in _labels(batch[1]))
    loading = (time.perf_counter() - begin) / max(index + 1 - ahead, 1)
    ranked = [f"{name} {count / labels.total():.1%}" for name, count in labels.most_common()]
    shown = ranked if len(ranked) <= _SHOWN else [*ranked[: _SHOWN - 1], "...", ranked[-1]]
    sizes = f"{len(data.train_set):,} training images, {len(data.val_set):,} validation images"
    report.facts += [
        ("data", f"{sizes}, {data.num_classes} classes"),
        ("input", _describe(batch[0])),
        ("target", _describe(batch[1])),
        ("labels", f"{len(ranked)} classes in the {images} images examined: {', '.join(shown)}"),
    ]
    pixels = torch.cat([image.flatten() for image in batch[0]]).float()
    for is_wrong, problem in (
        (not labels, f"{images} training images have no label at all, so nothing can be learned from them"),
        (len(labels) == 1 < data.num_classes, f"every label of {images} training images is {', '.join(labels)!r}"),
        (not pixels.isfinite().all(), "the images hold values that are not finite"),
        (pixels.std() < 1e-3, "the images are all of one colour: do the files hold what they should?"),
        (pixels.abs().max() > 50, f"the images' values reach {pixels.abs().max():.0f}: they should be normalised"),
    ):
        report.problems += [problem] if is_wrong else []
    return batch, loading


def _labels(targets: Any) -> list[int]:
    """List the labels of a batch: of images `(B,)`, of pixels `(B, H, W)`, or of objects, which count from 1."""
    if isinstance(targets, torch.Tensor):
        return targets[targets != _IGNORED].tolist()
    return [label - 1 for target in targets for label in target["labels"].tolist()]


def _describe(value: Any) -> str:
    """Describe a batch, a target or an output: shapes, types and the range of numbers."""
    if isinstance(value, torch.Tensor):
        span = f" from {value.min().item():.3g} to {value.max().item():.3g}" if value.numel() else ""
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}{span}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {tuple(getattr(each, 'shape', ()))}" for name, each in value.items()) + "}"
    return f"{len(value)} times, first {_describe(value[0])}" if value else "none"


def _overfit(run: Run, batch: Any, steps: int, report: SanityReport) -> float | None:
    """Train on one batch, without what hinders that: mixing, smoothing, dropout; return the seconds of a step."""
    vars(run.task).update(mixup=None, label_smoothing=0.0)
    for module in run.task.network.modules():
        vars(module).update(dict.fromkeys({"p", "drop_prob", "drop_rate"} & vars(module).keys(), 0.0))
    run.module.train()
    batch, losses, seconds = run.fabric.to_device(batch), list[float](), list[float]()
    while len(losses) < steps and (len(losses) <= _SETTLED or max(losses[-_SETTLED:]) > _PART * losses[0]):
        begin = time.perf_counter()
        for group in run.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * min((len(losses) + 1) / _WARMUP_STEPS, 1)
        lr = max(group["lr"] for group in run.optimizer.param_groups)
        loss = run.forward(run.module.training_step, batch, 0)["loss"]
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            report.problems.append(f"the loss is {losses[-1]} in step {len(losses)} of one batch")
            return None
        run.fabric.backward(loss)
        idle = [name for name, each in run.task.named_parameters() if each.requires_grad and each.grad is None]
        if run.config.clip:
            run.fabric.clip_gradients(run.module, run.optimizer, max_norm=run.config.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
    if max(losses[-_SETTLED:]) > _PART * losses[0]:
        report.problems.append(
            f"the loss of one batch went from {losses[0]:.3g} to {losses[-1]:.3g} in {steps} steps; it should fall to "
            f"{_PART * losses[0]:.3g}: look at the labels on the sheet, try another optim.lr (the highest here is "
            f"{lr:.3g}), or give more --steps"
        )
    if idle:
        report.problems.append(
            f"{len(idle)} parameters that should learn got no gradient, such as {', '.join(idle[:3])}: several "
            "processes would wait for them for ever"
        )
    each, peak = median(seconds[1:] or seconds), peak_memory(run.fabric.device)  # the first step sets things up
    with torch.no_grad(), run.fabric.autocast():
        output = _describe(run.task.network.eval()(batch[0]))
    report.facts += [
        ("output", output),
        ("overfit", f"loss {losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} steps of one batch, lr {lr:.3g}"),
        ("memory", "not known" if peak is None else f"{peak / _GIB:.2f} GiB at the peak"),
        ("step", f"{each:.3g} s for {len(batch[0])} images, {len(batch[0]) / each:.3g} images/s"),
    ]
    return each


def _estimate(run: Run, learning: float, loading: float, report: SanityReport) -> None:
    """Estimate what the whole run takes, from the seconds to learn from a batch and to load one."""
    seconds, begin = list[float](), time.perf_counter()
    run.module.eval()
    for index, batch in enumerate(islice(run.val_loader, _VAL_BATCHES)):
        with torch.no_grad():
            run.forward(run.module.validation_step, batch, index)
        seconds.append(time.perf_counter() - begin)
        begin = time.perf_counter()
    validations = max(run.total_steps // run.val_steps, 1) * len(run.val_loader) * median(seconds)
    each = max(learning, loading) if run.data.num_workers else learning + loading
    total = timedelta(seconds=round(run.total_steps * run.accumulate * each + validations))
    weights = sum(tensor.nbytes for tensor in run.task.network.state_dict().values())
    states = (value for state in run.optimizer.state.values() for value in state.values())
    averages = sum(value.nbytes for value in states if torch.is_tensor(value))
    report.facts += [
        ("loading", f"{loading:.3g} s a batch"),
        ("run", f"{run.total_steps:,} steps: about {total} on one device such as this"),
        ("disk", f"up to {(6 * weights + 3 * averages) / _GIB:.2g} GiB"),  # three checkpoints, three files of weights
    ]
    if loading > learning:
        report.problems.append(
            f"loading a batch takes {loading:.3g} s, learning from it {learning:.3g} s, so that the device waits for "
            "data: raise data.num_workers, or prepare smaller files"
        )
