"""The command line: ``gpvit VERB ...``.

A verb is one function, in the module of its name; its signature and docstring are its options and help. Modules
load when their verb is called, so that ``gpvit --help`` answers at once.
"""

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from importlib import import_module
from io import TextIOWrapper
from typing import Any, get_origin

from gpvit.errors import UserError, nearest
from gpvit.plugins import import_plugins
from gpvit.version import __version__

VERBS: dict[str, str] = {
    "demo": "let the shipped models answer, teach one of them letters, and write a report with images",
    "models": "list the models, their size and their published scores",
    "train": "train from a recipe (YAML), any setting overridable",
    "sanity": "try a recipe out in minutes: check shapes and labels, overfit one batch, estimate time and memory",
    "export": "write a model as a file for ONNX Runtime, OpenVINO or torch, compared with the model",
    "evaluate": "score a checkpoint on a dataset, and compare with the published score",
    "predict": "classify or segment images, or detect objects in them",
    "serve": "answer images over HTTP, with a page to try it",
    "groups": "draw what the groups of each group propagation block look at",
    "profile": "count parameters and multiply-accumulates by part",
    "benchmark": "measure speed and memory beside timm's models",
    "data": "put a real dataset that a software package carries in place",
    "shards": "write a folder of classes as WebDataset shards, for training at scale",
    "convert": "turn a checkpoint of the authors' code into a self-describing file",
    "hub": "write a model as a folder that timm and transformers read, and push it to the Hugging Face hub",
}

PARSE_THEMSELVES = ("train", "sanity", "hub")
"""Verbs whose options are those of a recipe, or of an action: functions of the list of arguments."""


class CommandError(Exception):
    """Ends a verb with an exit code; the message, if any, goes to stderr."""

    def __init__(self, message: str = "", exit_code: int = 1):
        super().__init__(message)
        self.exit_code = exit_code


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        0, or what tells a shell that something went wrong; the message is on stderr.
    """
    # GNU OpenMP's threads spin while they wait; beside another busy process that slows a step tenfold (measured: 4 s to
    # 35 s for a short epoch); with fewer spins it costs a factor of three (11 s), and nothing on a quiet machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read once, when torch is imported
    arguments = list(sys.argv[1:] if args is None else args)
    verb, *rest = arguments or ["--help"]
    if verb in ("-h", "--help", "--version"):
        print(f"gpvit {__version__}" if verb == "--version" else _overview())
        return 0
    if verb not in VERBS:
        print(f"gpvit: unknown verb {verb!r}; choose one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal's encoding lacks ends no verb
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        rest = _take_plugins(rest)
        function = getattr(import_module(f"gpvit.cli.{verb}"), verb)
        function(rest) if verb in PARSE_THEMSELVES else function(**parse(function, rest))
    except CommandError as error:
        if str(error):
            print(f"gpvit {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except (UserError, OSError) as error:  # the user's to mend; anything else is ours and keeps its traceback
        if os.environ.get("GPVIT_DEBUG"):
            raise
        print(f"gpvit {verb}: {_own_words(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gpvit {verb}: interrupted", file=sys.stderr)
        return 130
    return 0


def _take_plugins(arguments: list[str]) -> list[str]:
    """Import what `--import MODULE`, which all verbs have, names, and return the other arguments."""
    rest, names, left = [], [], iter(arguments)
    for argument in left:
        option, has_value, value = argument.partition("=")
        if option != "--import":
            rest.append(argument)
        elif name := value if has_value else next(left, ""):
            names.append(name)
        else:
            raise UserError("--import: name a module, such as my_blocks")
    if names or "GPVIT_IMPORT" in os.environ:
        import_plugins(names)
    return rest


def parse(function: Callable[..., None], arguments: list[str]) -> dict[str, Any]:
    """Read a verb's arguments as its signature describes them.

    Parameters without default are positional, and a list takes all that follow; a bool is a flag. Where a verb takes
    settings of the data, `**settings`, options such as `--data.root FOLDER` are among them, as they are written.
    """
    from docstring_parser import parse as parse_docstring
    from jsonargparse import ArgumentParser

    documentation = parse_docstring(inspect.getdoc(function) or "")
    help_of = {p.arg_name: p.description for p in documentation.params}
    parser = ArgumentParser(
        prog=f"gpvit {function.__name__.replace('_', ' ')}",
        description=documentation.short_description,
        allow_abbrev=False,
    )
    parameters = dict(inspect.signature(function, eval_str=True).parameters)
    settings: dict[str, str] = {}
    if variadic := [name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD]:
        del parameters[variadic[0]]
        parser.epilog = help_of.get(f"**{variadic[0]}")
        arguments, settings = _split_settings(arguments)
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty
        common: dict[str, Any] = {"help": help_of.get(name)}
        if get_origin(parameter.annotation) is list and required:
            parser.add_argument(name, type=parameter.annotation.__args__[0], nargs="*", default=[], **common)
        elif parameter.annotation is bool:
            parser.add_argument(_flag(name), action="store_true", **common)
        elif required:
            parser.add_argument(name, type=parameter.annotation, **common)
        else:
            parser.add_argument(_flag(name), type=parameter.annotation, default=parameter.default, **common)
    _refuse_unknown(arguments, ["--help", *map(_flag, parameters)], parser.error)
    arguments = _words_last(
        arguments, ["--help", *(_flag(n) for n, each in parameters.items() if each.annotation is bool)]
    )
    # in a context of its own: jsonargparse leaves settings in it that change what its next parser does
    return copy_context().run(parser.parse_args, arguments).as_dict() | settings


def _split_settings(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Part the arguments from the settings of the data among them, `--data.KEY VALUE` or `--data.KEY=VALUE`."""
    others, settings, rest = list[str](), dict[str, str](), list(arguments)
    while rest:
        option, given, value = (argument := rest.pop(0)).partition("=")
        if not option.startswith("--data."):
            others.append(argument)
        else:
            settings[option[2:]] = value if given or not rest else rest.pop(0)
    return others, settings


def _words_last(arguments: list[str], switches: list[str]) -> list[str]:
    """Put options first: argparse takes words on both sides of an option for two lists, of which it refuses one."""
    options, words, rest = list[str](), list[str](), list(arguments)
    while rest:
        if (argument := rest.pop(0)) == "--":
            words += rest
            break
        if not argument.startswith("-") or len(argument) == 1:
            words.append(argument)
            continue
        options.append(argument)
        if argument.startswith("--") and "=" not in argument and argument not in switches and rest:
            options.append(rest.pop(0))
    return [*options, "--", *words] if words else options


def _refuse_unknown(arguments: list[str], options: list[str], refuse: Callable[[str], Any]) -> None:
    """Propose the nearest option in place of one that there is not; argparse would name the wrong one alone."""
    for argument in arguments:
        option = argument.partition("=")[0]
        if len(option) > 2 and option.startswith("--") and option not in options:
            refuse(f"unrecognized option {option}; {nearest(option, options)}")


def _own_words(error: Exception) -> str:
    """Leave out the traceback that a data loader's worker process puts before an error's message."""
    message = str(error)
    if " in DataLoader worker process " not in message:
        return message
    return message.rpartition(f"{type(error).__name__}: ")[2].strip()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return (
        f"usage: gpvit VERB ...   (gpvit VERB --help for its options)\n\n{verbs}\n\n"
        "gpvit VERB --import MODULE ... imports your own module first, which registers blocks or decoders\n"
        "gpvit --version"
    )
