"""A recipe tried out in minutes, before it runs for days."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from lightning import Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from gpvit.data.module import ImageData
from gpvit.errors import UserError
from gpvit.train.batch_stats import Look, describe, look_at
from gpvit.train.budget import Plan, bytes_on_disk, plan
from gpvit.train.failures import TrainingError, explained
from gpvit.train.overfit_one_batch import OneBatch, Overfit
from gpvit.train.recipes import RecipeCLI
from gpvit.train.trainer import quiet

PART = 0.3
"""What the loss of one batch must fall to."""

_KEPT = ("accelerator", "precision", "gradient_clip_val", "gradient_clip_algorithm", "deterministic", "benchmark")
_VAL_BATCHES = 3
_GIB = 2**30
_DESCRIPTION = """Try a recipe out before it runs for long: learns one batch by heart, looks at shapes, labels and the
speed of loading, draws a sheet of training images, and estimates memory, time and disk. Exit code 1 says that something
is suspicious. Takes what `gpvit train` takes."""


class SanityCLI(RecipeCLI):
    """Reads a recipe as training does, but builds a Trainer for one device that neither logs nor writes."""

    planned: dict[str, Any]

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is this verb's own."""
        super().add_arguments_to_parser(parser)
        parser.prog, parser.description = "gpvit sanity", _DESCRIPTION
        parser.usage = "gpvit sanity RECIPE [RECIPE ...] [--steps N] [--out FOLDER] [--KEY VALUE ...]"
        parser.add_argument("--steps", type=int, default=200, help="Steps in which one batch must be learned.")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create the Trainer, and remember what the recipe would have made."""
        self.planned = {**self.config_init.trainer, **kwargs}
        if self.config.steps < 5:
            raise UserError(f"steps {self.config.steps}: give 5 or more")
        self.overfit = Overfit(PART)
        devices = self.planned.get("devices")
        own: dict[str, Any] = {name: self.planned[name] for name in _KEPT if self.planned.get(name) is not None}
        try:
            return Trainer(
                **own,
                devices=devices[:1] if isinstance(devices, list) else 1,
                default_root_dir=self.config.out or self.folder,
                callbacks=[self.overfit],
                max_epochs=1,
                check_val_every_n_epoch=2,  # so never in this one
                limit_val_batches=_VAL_BATCHES,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
        except (MisconfigurationException, ModuleNotFoundError) as error:  # of an accelerator without its library
            raise UserError(f"trainer: {error}") from error


@dataclass
class SanityReport:
    """What trying a recipe out has shown.

    Attributes:
        facts: Lines to print, each with what it is about.
        suspicions: What is hardly meant to be so; empty if all is well.
    """

    facts: list[tuple[str, str]]
    suspicions: list[str]


def try_recipe(arguments: Sequence[str]) -> SanityReport:
    """Try a recipe out, and draw a preview sheet into a run folder.

    Args:
        arguments: As for training, and `--steps`.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If a setting is unknown or wrong, or memory runs out; it is named.
    """
    with quiet():
        cli: Any = SanityCLI(arguments)
    data, task, overfit, trainer = cli.datamodule, cli.model, cli.overfit, cli.trainer
    folder = Path(trainer.default_root_dir)
    data.setup("fit")
    planned = plan(cli.planned, len(data.train_set), data.batch_size, len(data.val_dataloader()))
    look = look_at(data)
    sheet = _sheet(data, look, folder)
    if "base_batch_size" in task.hparams:
        task.hparams.base_batch_size = None  # the rate is that of the recipe, not scaled to the batch of one device
    said: list[str] = []
    one_batch = OneBatch(data, look.batch, cli.config.steps)
    with quiet(), explained(trainer, task), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the run ends before its learning rate falls")  # not the run that is meant
        try:
            trainer.fit(task, datamodule=one_batch)
            trainer.validate(task, datamodule=one_batch, verbose=False)
        except TrainingError as error:
            if overfit.output or "the loss is" not in str(error):
                raise
            said.append(str(error))
    facts = [
        *_facts_of_data(data, look, sheet),
        *_facts_of_learning(overfit, look),
        *_facts_of_run(planned, data, look, overfit),
    ]
    return SanityReport(facts, [*look.suspicions(), *said, *_doubts(overfit, look, planned)])


def _sheet(data: Any, look: Look, folder: Path) -> Path:
    """Draw the preview sheet; data that have a report of their own draw it, and write what they counted."""
    data.write_report(folder)
    return folder / "data.png"


def _facts_of_data(data: ImageData, look: Look, sheet: Path) -> list[tuple[str, str]]:
    counts = [len(part) for part in (data.train_set, data.val_set)]  # type: ignore[arg-type]
    return [
        ("data", f"{counts[0]:,} training images, {counts[1]:,} validation images, {data.num_classes} classes"),
        ("input", describe(look.batch[0])),
        ("target", describe(look.batch[1])),
        ("labels", look.describe_labels()),
        ("sheet", str(sheet)),
    ]


def _facts_of_learning(overfit: Overfit, look: Look) -> list[tuple[str, str]]:
    if not overfit.output:
        return []
    first, last = overfit.losses[0], overfit.losses[-1]
    memory = "not known" if overfit.memory is None else f"{overfit.memory / _GIB:.2f} GiB at the peak"
    each = _step_seconds(overfit)
    return [
        ("output", overfit.output),
        ("overfit", f"loss {first:.3g} to {last:.3g} in {len(overfit.losses)} steps of one batch, lr {overfit.lr:.3g}"),
        ("memory", memory),
        ("step", f"{each:.3g} s for {look.size} images, {look.size / each:.3g} images/s on one device"),
        ("loading", f"{look.seconds:.3g} s a batch"),
    ]


def _facts_of_run(planned: Plan, data: ImageData, look: Look, overfit: Overfit) -> list[tuple[str, str]]:
    if not overfit.output:
        return []
    seconds = planned.seconds(_step_seconds(overfit), look.seconds, data.num_workers, median(overfit.val_seconds))
    disk = bytes_on_disk(overfit.weights_bytes, overfit.optimizer_bytes)
    on = "on one device" if planned.devices == 1 else f"on {planned.devices} devices as this one"
    return [
        (
            "run",
            f"{planned.steps:,} steps, {planned.epochs:.4g} epochs {on}: about {timedelta(seconds=round(seconds))}",
        ),
        ("disk", f"up to {disk / _GIB:.2g} GiB"),
    ]


def _doubts(overfit: Overfit, look: Look, planned: Plan) -> list[str]:
    """Say what is suspicious of how it learned and how fast."""
    if not overfit.output:
        return []
    said = []
    if not overfit.has_fallen:
        first, last = overfit.losses[0], overfit.losses[-1]
        said.append(
            f"the loss of one batch went from {first:.3g} to {last:.3g} in {len(overfit.losses)} steps; it should fall "
            f"to {PART * first:.3g}: look at the labels on the sheet, try another model.lr (the highest here was "
            f"{overfit.lr:.3g}), or give more --steps"
        )
    if overfit.without_gradient:
        names = overfit.without_gradient
        said.append(
            f"{len(names)} parameters that should learn got no gradient, {', '.join(names[:3])} first: several "
            "processes would wait for them for ever"
        )
    if look.seconds > (step := _step_seconds(overfit)):
        said.append(
            f"loading a batch takes {look.seconds:.3g} s, learning from it {step:.3g} s: {planned.devices} "
            f"device{'s' * (planned.devices > 1)} would wait for data; raise data.num_workers, or prepare smaller files"
        )
    return said


def _step_seconds(overfit: Overfit) -> float:
    """Take the median of all steps but the first, which sets things up."""
    return median(overfit.seconds[1:] or overfit.seconds)
