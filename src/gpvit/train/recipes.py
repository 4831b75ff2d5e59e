"""Recipes: YAML files that say what is trained, on what and how; the signatures of the classes are their schema."""

import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import partial
from inspect import Parameter, signature
from itertools import takewhile
from pathlib import Path
from pydoc import locate
from typing import Any

import yaml
from jsonargparse import ArgumentParser, get_loader
from lightning import LightningDataModule, LightningModule
from lightning.fabric.utilities import rank_zero_only

from gpvit.errors import UserError
from gpvit.io import located
from gpvit.tasks.optim import OptimConfig
from gpvit.train import composition as parts
from gpvit.train.advice import verdict
from gpvit.train.composition import EXAMPLE, Composition, compose, find_recipe, merge, walk
from gpvit.train.config import TrainConfig
from gpvit.train.loop import fit
from gpvit.zoo.catalog import find

_PUBLIC = ("gpvit.tasks", "gpvit.data", "gpvit.data.segmentation", "gpvit.data.detection")
_ELSEWHERE = {"optim", "grad_checkpointing", "compile"}  # arguments of a task that stand in optim and train


@dataclass(frozen=True)
class Recipe:
    """A recipe with everything that overrides it, checked; no network and no data are read yet."""

    settings: dict[str, Any]
    """Every setting of the groups model, data, optim and train as plain values: written to a file, a recipe."""
    out: Path
    resume: bool | Path
    """As `fit` takes it."""
    create_task: Callable[[], Any]
    create_data: Callable[[], Any]
    config: TrainConfig
    help: str
    """Every setting with its meaning, its type and its value."""

    def build(self) -> tuple[Any, Any, TrainConfig]:
        """Create the task, whose network comes with `Task.build`, the data module and the settings of the run."""
        return self.create_task(), self.create_data(), self.config


def train_recipe(arguments: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """Train as the command line does.

    Args:
        arguments: Recipes, as `find_recipe` takes them, later ones winning, then options: `["recipe.yaml",
            "--train.epochs", "3", "--out", "runs/mine"]`. `--resume RUN` needs no recipe: it reads the run's own.

    Returns:
        The run folder, and the summary that `fit` returns.

    Raises:
        FileNotFoundError: If there is no such recipe, or a base of it is missing.
        UserError: If a setting is unknown or wrong; it is named, with its file and line.
    """
    recipe = read_recipe(arguments)
    task, data, config = recipe.build()
    summary = fit(task, data, config, recipe.out, resume=recipe.resume, settings=recipe.settings)
    if said := verdict(task, data, config, summary):
        rank_zero_only(print)(said)
    return recipe.out, summary


def read_recipe(arguments: Sequence[str]) -> Recipe:
    """Read what `train_recipe` takes, and check every setting against the signatures of its classes."""
    names, options = split_arguments(arguments)
    out, resume, names = _run_folder(names, options)
    if not names:
        raise UserError(f"give a recipe, such as {EXAMPLE}")
    files = [find_recipe(name) for name in names]
    recipes = compose(files)
    composition = recipes.overridden(options)
    task, data = _find_classes(composition)
    parser = _create_parser(task, data, composition.settings["model"])
    known = {"model.class", "data.class", *vars(parser.get_defaults().as_flat())}
    # what the classes declare is read by its type; what is within a mapping of theirs, as in a file
    composition = recipes.overridden({key: text if key in known else _value(text) for key, text in options.items()})
    parts.refuse_unknown(composition, known)
    given = {group: dict(settings) for group, settings in composition.settings.items()}
    classes = {group: {"class": given[group].pop("class")} for group in ("model", "data") if "class" in given[group]}
    if "data.masks" in known and hasattr(task, "finds_masks"):
        name = str(given["model"].get("name"))
        if not _create(composition, ("model",), partial(task.finds_masks, name)):
            given["data"] = {"masks": False, **given["data"]}
    if hasattr(task, "default_optim"):
        given["optim"] = merge(asdict(task.default_optim), given.get("optim", {}))
    checked = parts.check_types(parser, given, composition)
    parser.set_defaults(vars(checked.as_flat()))
    built = _create(composition, ("train", "optim", "data"), partial(parser.instantiate, checked))
    create = partial(task, **vars(built.model), **({"optim": built.optim} if "optim" in built else {}))
    _create(composition, ("model",), create)  # which knows what its network takes
    plain = yaml.safe_load(parser.dump(checked, skip_unset=False))
    settings = {group: {**classes.get(group, {}), **values} for group, values in plain.items()}
    create_data = partial(_create, composition, ("data",), partial(data, **vars(built.data)))
    return Recipe(settings, out or _new_folder(files), resume, create, create_data, built.train, _explain(parser))


def _value(text: str) -> Any:
    """Read an option as a file's value; what is no YAML is a text."""
    try:
        return get_loader("yaml")(text)
    except (yaml.YAMLError, ValueError):
        return text


def _create(composition: Composition, groups: Sequence[str], create: Callable[[], Any]) -> Any:
    """Create what the settings of groups describe; a refusal says where the setting stands that it is about."""
    try:
        return create()
    except UserError as error:
        words = re.findall(r"\w+", str(error))
        known = [keys for keys, _ in walk(composition.settings) if keys[0] in groups]
        named = [keys for keys in known if keys[-1] in words and keys[-1] not in ("class", "name")]
        keys = min(named, key=lambda keys: words.index(keys[-1]), default=(*known, ())[0])
        raise UserError(f"{composition.where(keys)}{error}") from error


def data_settings(data: type, given: Mapping[str, str]) -> dict[str, Any]:
    """Read settings of a data module, texts as on the command line, by its signature; what is wrong is named."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, usage=SUPPRESS)
    parser.add_class_arguments(data, "data", instantiate=False)
    known = {*vars(parser.get_defaults().as_flat())}
    options = {f"data.{key}": text for key, text in given.items()}
    composition = Composition({"data": {}}, {}).overridden(options)
    parts.refuse_unknown(composition, known)
    checked = parts.check_types(parser, composition.settings, composition)
    built = vars(parser.instantiate(checked).data)
    return {key: built[key] for key in composition.settings["data"]}


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Part recipes from the options after them, whose names lose their dashes; a missing value is an empty text."""
    names = list(takewhile(lambda text: not text.startswith("-"), arguments))
    rest = list(arguments[len(names) :])
    options: dict[str, str] = {}
    while rest:
        name, has_value, value = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise UserError(f"{name}: recipes come first, then what overrides them, each as --KEY VALUE")
        if not has_value and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        options[name[2:]] = value
    return names, options


def _run_folder(names: list[str], options: dict[str, str]) -> tuple[Path | None, bool | Path, list[str]]:
    """Take `--out` and `--resume` from the options; a run to resume brings its own recipe."""
    out = located(options.pop("out")) if "out" in options else None
    if (resume := options.pop("resume", None)) is None:
        return out, False, names
    run = located(resume) if resume else out
    if run is None:
        raise UserError("--resume: name the run folder, --resume RUN")
    folder = run.parent if run.is_file() else run
    if not names and not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} holds no config.yaml; name the folder of a run, or give its recipe")
    is_same = out is None or out == folder
    return (folder if is_same else out, True if is_same else run, names or [str(folder / "config.yaml")])


def _new_folder(recipes: Sequence[Path]) -> Path:
    """Name a run folder after the recipes and the time; of several processes, the first one's is used."""
    first = "-".join(part for part in (recipes[0].parent.name, recipes[0].stem) if part)
    name = "+".join([first, *(recipe.stem for recipe in recipes[1:])])
    return Path("runs", name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))


def _find_classes(composition: Composition) -> tuple[type, type]:
    """Find the task, which follows from the model's name unless a class is named, and the data module."""
    groups = [composition.settings.get(group) for group in ("model", "data")]
    model, data = (group if isinstance(group, Mapping) else {} for group in groups)
    if not (model.get("class") or "name" in model) or "class" not in data:
        raise UserError(f"{composition.files}: model.name or data.class is missing; is it a part of other recipes?")
    keys = ("model", "class" if "class" in model else "name")
    try:
        kind = model.get("class") or find(str(model["name"]).partition(".")[0]).task.capitalize() + "Task"
        task = find_class(kind, LightningModule)
        keys = ("data", "class")
        return task, find_class(data["class"], LightningDataModule)
    except UserError as error:
        raise UserError(f"{composition.where(keys)}{'.'.join(keys)}: {error}") from error


def find_class(name: str, base: type) -> type:
    """Import a class: the public name of one of ours, or a dotted path, which may start in the working folder."""
    name = str(name)  # whatever a recipe holds
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    found = [locate(name)] if "." in name else [*_public(base, [name]).values()]
    found = [each for each in found if isinstance(each, type) and issubclass(each, base)]
    if len(found) != 1:
        problem = "is the name of several classes" if found else f"is no {base.__name__}"
        raise UserError(f"{name!r} {problem}; give the path of one, such as {', '.join(_public(base))}")
    return found[0]


def _public(base: type, names: Sequence[str] = ()) -> dict[str, type]:
    """Find the public classes of ours of a kind, of given names or all, by their paths."""
    paths = [f"{module}.{name}" for module in _PUBLIC for name in (names or dir(locate(module)))]
    return {path: each for path in paths if isinstance(each := locate(path), type) and issubclass(each, base)}


def _create_parser(task: type, data: type, model: Mapping[str, Any]) -> ArgumentParser:
    """Describe what the classes take, and what else is given for the model, which the task checks itself."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, usage=SUPPRESS)
    own = _add_task(parser, task)
    if any(each.kind is Parameter.VAR_KEYWORD for each in own.values()):
        elsewhere = {each.name for config in (OptimConfig, TrainConfig) for each in fields(config)}
        group = parser.add_argument_group("More arguments of the model")
        for key in model:
            if str(key).isidentifier() and key not in {*own, *elsewhere, *parts.RENAMED, "class"}:
                group.add_argument(f"--model.{key}", type=Any)
    parser.add_class_arguments(data, "data", instantiate=False)
    if hasattr(task, "default_optim") or "optim" in own:
        parser.add_class_arguments(OptimConfig, "optim")
    parser.add_class_arguments(TrainConfig, "train")
    return parser


def _add_task(parser: ArgumentParser, task: type) -> Mapping[str, Parameter]:
    """Describe what a task itself takes; jsonargparse would follow its **kwargs, wherever they lead."""

    def stand_in() -> None: ...

    own = signature(task)
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    named = [each for each in own.parameters.values() if each.kind not in variadic and each.name not in _ELSEWHERE]
    vars(stand_in)["__signature__"], stand_in.__doc__ = own.replace(parameters=named), task.__doc__
    parser.add_function_arguments(stand_in, "model")
    return own.parameters


def explain_all() -> str:
    """List the settings of all tasks and data modules with their meaning, type and default."""
    classes = {**_public(LightningModule), **_public(LightningDataModule), "optim": OptimConfig, "train": TrainConfig}
    text = ""
    for name, each in classes.items():
        parser = ArgumentParser(add_help=False, usage=SUPPRESS)
        if issubclass(each, LightningModule):
            _add_task(parser, each)
        else:
            parser.add_class_arguments(each, "data" if "." in name else name)
        text += f"{name}\n{_explain(parser)}\n"
    return text


def _explain(parser: ArgumentParser) -> str:
    return re.sub(r"  --[\w.]+ CONFIG .*\n", "", parser.format_help())  # which would be a file for a group alone
