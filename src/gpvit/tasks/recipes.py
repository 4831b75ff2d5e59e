"""Recipes: YAML files that say what is trained, on what and how, in the words of the classes' signatures."""

import difflib
import inspect
import pydoc
import re
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

from jsonargparse import ArgumentError
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from gpvit.tasks.trainer import TRAINER_DEFAULTS, build_trainer, quiet
from gpvit.tasks.training import fit

_PACKAGE = Path(__file__).parents[1]
_EXAMPLE = "recipes/digits/classify.yaml"
_DESCRIPTION = """Train from a recipe. Every setting below can stand in the recipe, or on the command line, which wins:
`gpvit train recipes/digits/classify.yaml --trainer.max_epochs 3 --model.lr 0.001`. What a class takes is shown by
`--model.help gpvit.tasks.ClassificationTask` or `--data.help gpvit.data.ImageFolder`."""


class RecipeCLI(LightningCLI):
    """Reads a recipe and what overrides it, and builds the task, the data and the Trainer from it.

    Args:
        arguments: As on the command line, with the recipe as `--config`.
        folder: The run folder, unless the arguments or the recipe name one as `out`.
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.folder = folder
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            parser_kwargs={
                "prog": "gpvit train",
                "usage": "gpvit train RECIPE [--out FOLDER] [--resume CHECKPOINT] [--KEY VALUE ...]",
                "description": _DESCRIPTION,
                "exit_on_error": False,
                "allow_abbrev": False,
            },
            args=list(arguments),
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
            "--resume", type=str | None, default=None, help="The last.ckpt of a run to go on with, in a new run folder."
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the arguments; Lightning's own method would warn that they do not come from sys.argv."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            if "--config" not in args and "arguments are required" in str(error):
                raise ValueError(f"give a recipe, as {_EXAMPLE}") from error
            message = _plain(error)
            raise ValueError(message + _nearest(message, parser)) from error

    def instantiate_classes(self) -> None:
        """Build what the recipe names."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise ValueError(_plain(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Create the Trainer around the run folder, which will also hold the resolved settings."""
        options = {**self.config_init.trainer, **kwargs}
        if options.pop("default_root_dir") is not None:
            raise ValueError("trainer.default_root_dir: the run folder is set by --out FOLDER")
        callbacks = options.pop("callbacks") or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        save_config = SaveConfigCallback(self.parser, self.config)
        return build_trainer(self.config.out or self.folder, [*callbacks, save_config], **options)


def find_recipe(name: str | Path) -> Path:
    """Find a recipe: a file of the user's, else one of this package, inside it or, in a checkout, beside its source.

    Args:
        name: A path; one of this package's is `recipes/digits/classify.yaml`, with or without the first folder.

    Raises:
        FileNotFoundError: If it is in none of the places.
    """
    own = Path(name).as_posix().removeprefix("recipes/")
    for place in (Path(name), _PACKAGE / "recipes" / own, _PACKAGE.parents[1] / "recipes" / own):
        if place.is_file():
            return place
    raise FileNotFoundError(f"no recipe at {name}; a recipe is a YAML file, as {_EXAMPLE}")


def train_recipe(arguments: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Train as the command line does.

    Args:
        arguments: A recipe, as `find_recipe` takes it, then what overrides it:
            `["recipe.yaml", "--trainer.max_epochs", "3"]`.

    Returns:
        The run folder, and what `fit` returns.

    Raises:
        FileNotFoundError: If there is no such recipe.
        ValueError: If a setting is unknown or wrong; it is named.
    """
    arguments = list(arguments)
    name = "run"
    if arguments and not arguments[0].startswith("-"):
        recipe = find_recipe(arguments[0])
        name = "-".join(part for part in (recipe.parent.name, recipe.stem) if part)
        arguments[:1] = ["--config", str(recipe)]
    with quiet():
        # jsonargparse leaves settings in the context when help or a mistake ends it; a later call must not find them
        folder = Path("runs", name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
        cli = copy_context().run(RecipeCLI, arguments, folder)
    summary = fit(cli.trainer, cli.model, cli.datamodule, cli.config.resume)
    return Path(cli.trainer.default_root_dir), summary


def _plain(error: Exception) -> str:
    """Leave of jsonargparse's report what went wrong and where; it also lists all that it tried."""
    noise = ("Does not validate against", "Subtypes:", "Errors:", "- Expected a <class 'NoneType'>", "Given value")
    lines = (line for line in str(error).splitlines() if not line.strip().startswith(noise))
    return dedent("\n".join(line.replace("- ", "", 1) for line in lines)).strip()


def _nearest(message: str, parser: LightningArgumentParser) -> str:
    """Propose what a setting that a report calls unknown may have meant."""
    known: Iterable[str]
    if found := re.search(r"class_path '(\S+)':.*Option '(\w+)' is not accepted", message, re.DOTALL):
        class_path, unknown = found.groups()
        known = inspect.signature(pydoc.locate(class_path)).parameters  # type: ignore[arg-type]
    elif found := re.search(r"unrecognized arguments: (--[^\s=]+)", message):
        unknown = found[1]
        known = [f"--{key}" for key in vars(parser.get_defaults().as_flat())]
    else:
        return ""
    near = difflib.get_close_matches(unknown, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
