"""Recipes: YAML files that say what is trained, on what and how, in the words of the classes' signatures."""

import contextlib
import io
import json
import re
from collections.abc import Sequence
from contextvars import copy_context
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, get_loader
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from gpvit.errors import UserError
from gpvit.train.composition import EXAMPLE, Composition, compose, find_recipe, merge
from gpvit.train.config_errors import plain, report
from gpvit.train.resume import check_same_run
from gpvit.train.trainer import TRAINER_DEFAULTS, build_trainer, quiet
from gpvit.train.training import fit

_DESCRIPTION = """Train from a recipe. Every setting below can stand in the recipe, or on the command line, which wins:
`gpvit train recipes/digits/classify.yaml --trainer.max_epochs 3 --model.lr 0.001`. Several recipes are laid one over
the other: `gpvit train recipes/imagenet/gpvit_l1.yaml recipes/paper/imagenet_clip.yaml`. What a class takes is shown by
`--model.help gpvit.tasks.ClassificationTask` or `--data.help gpvit.data.ImageFolder`."""


class RecipeCLI(LightningCLI):
    """Reads a recipe and what overrides it, and builds the task, the data and the Trainer from it.

    Args:
        arguments: As on the command line: recipes, as `find_recipe` takes them, then what overrides them. A recipe may
            also be given as `--config`.
        folder: The run folder, unless the arguments or the recipe name one as `out`; by default a new one, named after
            the recipes, in `runs`.
    """

    def __init__(self, arguments: Sequence[str], folder: Path | None = None) -> None:
        files, arguments = _recipes_first(arguments)
        self.composition: Composition | None = compose(files) if files else None
        self.folder = folder or _new_folder(files)
        if self.composition:
            nested, arguments = _nested(arguments)
            # as JSON, whose texts and numbers cannot be mistaken for each other
            settings = json.dumps(merge(self.composition.settings, nested), ensure_ascii=False)
            arguments = ["--config", settings, *arguments]
        # jsonargparse leaves settings in the context that change what its next parser does
        copy_context().run(
            super().__init__,
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={
                "prog": "gpvit train",
                "usage": "gpvit train RECIPE [RECIPE ...] [--out FOLDER] [--resume [RUN]] [--KEY VALUE ...]",
                "description": _DESCRIPTION,
                "exit_on_error": False,
                "allow_abbrev": False,
            },
            args=arguments,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is ours beside Lightning's settings."""
        parser.add_argument(
            "--out", type=str | None, default=None, help="Run folder; by default a new one in runs/RECIPE/."
        )
        parser.add_argument(
            "--resume",
            type=bool | str | None,
            nargs="?",
            const=True,
            default=None,
            help="Alone, go on with the run in the folder that --out names, exactly where it was saved last. Or start "
            "a new run folder from a run's folder or checkpoint.",
        )
        parser.add_argument(
            "--checkpoint_every",
            type=int | None,
            default=None,
            help="Optimiser steps from one checkpoint to the next within an epoch, beside those at its end.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the arguments; Lightning's own method would warn that they do not come from sys.argv."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            if "arguments are required" in str(error) or "class_path 'lightning." in str(error):
                raise UserError(_incomplete(self.composition)) from error
            raise UserError(report(error, parser, self.composition)) from error

    def instantiate_classes(self) -> None:
        """Build what the recipe names."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise UserError(plain(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create the Trainer around the run folder, which will also hold the resolved settings."""
        options = {**self.config_init.trainer, **kwargs}
        if options.pop("default_root_dir") is not None:
            raise UserError("trainer.default_root_dir: the run folder is set by --out FOLDER")
        callbacks = options.pop("callbacks") or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        goes_on = self.config.resume is True
        save_config = SaveConfigCallback(self.parser, self.config, overwrite=goes_on)
        if goes_on:
            if self.config.out is None:
                raise UserError("--resume alone goes on with the run in --out FOLDER: name that folder")
            check_same_run(Path(self.config.out), yaml.safe_load(self.parser.dump(self.config, skip_none=False)))
        return build_trainer(
            self.config.out or self.folder,
            [*callbacks, save_config],
            checkpoint_every=self.config.checkpoint_every,
            goes_on=goes_on,
            **options,
        )


def train_recipe(arguments: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Train as the command line does.

    Args:
        arguments: Recipes, as `find_recipe` takes them, then what overrides them:
            `["recipe.yaml", "--trainer.max_epochs", "3"]`. Of several recipes later ones win.

    Returns:
        The run folder, and what `fit` returns.

    Raises:
        FileNotFoundError: If there is no such recipe, or a base of it is missing.
        ValueError: If a setting is unknown or wrong; it is named.
    """
    with quiet():
        cli = RecipeCLI(arguments)
    summary = fit(cli.trainer, cli.model, cli.datamodule, cli.config.resume)
    return Path(cli.trainer.default_root_dir), summary


def resolve_recipe(arguments: Sequence[str]) -> dict[str, Any]:
    """Give every setting of a recipe, those that it leaves to the classes' defaults, too; nothing is built.

    Args:
        arguments: As `train_recipe` takes them.

    Raises:
        FileNotFoundError: As `train_recipe` does.
        ValueError: As `train_recipe` does.
    """
    printed = io.StringIO()
    with quiet(), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        RecipeCLI([*arguments, "--print_config"])
    settings: dict[str, Any] = yaml.safe_load(printed.getvalue())
    return settings


def _recipes_first(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Part the recipes from what overrides them."""
    rest = list(arguments)
    names = []
    while rest and not rest[0].startswith("-"):
        names.append(rest.pop(0))
    while "--config" in rest[:-1]:
        place = rest.index("--config")
        names.append(rest[place + 1])
        del rest[place : place + 2]
    return [find_recipe(name) for name in names], rest


def _nested(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Part what jsonargparse would get wrong of options within options of a class, as settings, from all others.

    It takes null for a text there, or refuses it; and an option within a mapping, as `model_kwargs` has them, would
    replace the mapping.
    """
    option = re.compile(r"--(model|data)\.(?!init_args\.|class_path)((?:\w+\.)+\w+)")
    settings: dict[str, Any] = {}
    rest = list(arguments)
    for place in reversed(range(len(rest))):
        name, given, text = rest[place].partition("=")
        end = place + 1 if given else place + 2
        text = text if given else "".join(rest[place + 1 : end])
        found = option.fullmatch(name)
        within_mapping = found and found[2].startswith("model_kwargs.") and text and not text.startswith("--")
        if found and (text == "null" or within_mapping):
            value = get_loader("yaml")(text)
            for key in reversed([found[1], "init_args", *found[2].split(".")]):
                value = {key: value}
            settings = merge(value, settings)  # of what is said twice, the last counts
            del rest[place:end]
    return settings, rest


def _new_folder(recipes: Sequence[Path]) -> Path:
    first = [part for recipe in recipes[:1] for part in (recipe.parent.name, recipe.stem) if part]
    name = "+".join(["-".join(first) or "run", *(recipe.stem for recipe in recipes[1:])])
    return Path("runs", name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))


def _incomplete(composition: Composition | None) -> str:
    if composition is None:
        return f"give a recipe, as {EXAMPLE}"
    files = ", ".join(str(file) for file, _ in composition.parts)
    return f"{files}: no model or no data is named; is it a part that other recipes build on? Give one, as {EXAMPLE}"
