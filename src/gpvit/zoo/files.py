"""Weight files that describe themselves, and strict, safe loading of them and of the authors'.

A file of ours is a safetensors file whose metadata holds, as JSON under ``gpvit``, everything needed to build the
model and to prepare its images; files without that, such as timm's, are read where the model is named. Nothing is
ever unpickled but tensors and plain data.
"""

import argparse
import json
import pickle
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from timm.models import adapt_input_conv, clean_state_dict
from torch import nn

from gpvit.errors import UserError
from gpvit.io import located, replacing
from gpvit.models.variants import BLOCKS
from gpvit.ops.resizing import resize_pos_embed
from gpvit.runtime.facts import PREPROCESSING_KEYS, check_facts, check_values
from gpvit.version import __version__
from gpvit.zoo.huggingface import CONFIG, SCHEME, WEIGHTS, fetch
from gpvit.zoo.official import convert_official, is_official
from gpvit.zoo.openmmlab import HARMLESS, inputs_of, without_averages

EXPORTED = (".onnx", ".xml", ".pt2")
"""What the names of exported files end in, which hold a graph."""
_PARTS = ("state_dict_ema", "model_ema", "state_dict")
"""Where timm and the authors keep weights in a file, the averaged ones first, as timm does."""
_IN_FOLDERS = ("best.safetensors", "last.safetensors", WEIGHTS)
_METADATA: dict[str, Any] = {"name": "", "kwargs": {}, "inputs": {}, "version": "", "source": ""}


@dataclass
class Checkpoint:
    """Weights under this package's names, and what their file says about them.

    A file that :func:`write_checkpoint` did not write does not say its model's `name`. `kwargs` are the arguments that
    the model was created with, and `inputs` how its images were prepared (``PREPROCESSING_KEYS``).
    """

    state_dict: dict[str, torch.Tensor]
    name: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    source: str = ""


def write_checkpoint(
    model: nn.Module,
    path: Path,
    class_names: Sequence[str] | None = None,
    inputs: dict[str, Any] | None = None,
    source: str = "",
) -> None:
    """Write a file that :func:`read_checkpoint` reads; the arguments are those of :func:`gpvit.save`."""
    if path.suffix != ".safetensors":
        raise UserError(f"weights are written as .safetensors; got {path}")
    config = getattr(model, "gpvit_config", None)
    if config is None:
        raise UserError(f"{type(model).__name__} was not made by gpvit.create_model, so its file could not name it")
    prepared = {**_preprocessing(model), **(inputs or {})}
    if class_names is not None:
        if len(class_names) != model.num_classes:
            raise UserError(f"{len(class_names)} class names for a head of {model.num_classes} classes")
        prepared["label_names"] = list(class_names)
    # The head may be another since the creation.
    head = {key: getattr(model, key) for key in ("num_classes", "global_pool") if hasattr(model, key)}
    description = {
        **config,
        "kwargs": {**config["kwargs"], **head},
        "inputs": {key: prepared[key] for key in PREPROCESSING_KEYS if key in prepared},
        "version": __version__,
        "source": source,
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as temporary:
        # save_file would make the file unreadable for other users
        temporary.write_bytes(serialize(tensors, metadata={"gpvit": json.dumps(description, default=_name_of)}))


def _name_of(block: Any) -> str:
    """Return the name by which a block, given as a class, is registered."""
    for name, registered in BLOCKS.items():
        if registered is block:
            return name
    raise UserError(
        f"a file cannot hold {block!r:.100}; a block of your own needs a name: gpvit.register_block(NAME, CLASS)"
    )


def _preprocessing(model: Any) -> dict[str, Any]:
    """Describe how a model's images are prepared, at its own size and with its own channels."""
    size = getattr(model, "img_size", model.pretrained_cfg["input_size"][1:])
    cfg = {**model.pretrained_cfg, "input_size": (model.in_chans, *size)}
    if model.in_chans == 1:  # gray, where the configuration may still describe colour
        cfg |= {key: [sum(cfg[key]) / len(cfg[key])] for key in ("mean", "std")}
    return cfg


def weights_file(path: str | Path) -> Path:
    """Return the file that a path stands for, ``~`` and ``$NAME`` expanded.

    That is the best one of a run folder, and the only one of a hub's folder or of a model of the hub, which is fetched.
    """
    if str(path).startswith(SCHEME):
        return fetch(str(path))
    path = located(path)
    file = next((file for name in _IN_FOLDERS if (file := path / name).is_file()), path)
    if file.name == WEIGHTS and file != path and not (path / CONFIG).is_file():
        raise UserError(f"{path} holds {WEIGHTS} but no {CONFIG}, as a hub's folder does; name a file, or save it anew")
    return file


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of ours, of a run folder the best, an official one, converted, or one of timm; none may hold code."""
    path = weights_file(path)
    if not path.is_file():
        lacking = f", which holds none of {', '.join(_IN_FOLDERS)}" if path.is_dir() else ""
        raise FileNotFoundError(f"no checkpoint at {path}{lacking}")
    if path.suffix in EXPORTED:
        raise UserError(
            f"{path} is an exported file: a graph, and no weights that a model could be built with; give it to "
            f"gpvit.Predictor, or to `gpvit predict {path} photo.jpg`"
        )
    try:
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except Exception as error:  # what a damaged byte raises in torch, zipfile or pickle is anything
        raise UserError(
            f"{path} is damaged, or holds more than tensors and plain data; it was not opened further ({error})"
        ) from error


def _read_pickle(path: Path) -> Checkpoint:
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *HARMLESS]):  # timm's training keeps one
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (unknown := re.search(r"GLOBAL (mm(cv|engine|cls|det|seg)\.[\w.]+)", str(error))) is None:
            raise
        keep = (
            f'import torch; c = torch.load({json.dumps(path.name)}, weights_only=False, map_location="cpu"); '
            'torch.save({k: c[k] for k in ("meta", "state_dict") if k in c}, "plain.pth")'
        )
        raise UserError(
            f"holds more than tensors and plain data, {unknown[1]}, and is not opened further, as that may run code. "
            f"Where it was trained, if you trust it, keep the weights alone: {shlex.join(['python', '-c', keep])}"
        ) from error
    plain = content if isinstance(content, dict) else {}
    state_dict = next((plain[key] for key in _PARTS if isinstance(plain.get(key), dict)), plain)
    if not state_dict or not all(isinstance(tensor, torch.Tensor) for tensor in state_dict.values()):
        raise UserError(
            "holds no weights: neither names with tensors nor those as its 'state_dict'; a training run's weights are "
            "in its best.safetensors"
        )
    return Checkpoint(with_our_names(state_dict), inputs=inputs_of(plain))


def with_our_names(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give tensors the names that they have here, in place of the authors' or those that wrappers gave."""
    cleaned = without_averages(clean_state_dict(state_dict))
    return convert_official(cleaned) if is_official(cleaned) else cleaned


def _read_safetensors(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    tensors = with_our_names(tensors)
    if "gpvit" not in metadata:
        return Checkpoint(tensors)
    description = json.loads(metadata["gpvit"])
    check_values("metadata", description, _METADATA)
    check_facts("inputs", description.get("inputs") or {}, PREPROCESSING_KEYS)
    return Checkpoint(tensors, **{key: value for key, value in description.items() if value is not None})


def load_weights(model: nn.Module, state_dict: dict[str, torch.Tensor], *, source: str, new_head: bool = False) -> None:
    """Load weights strictly, but converted to the model's image channels and token grid.

    A model without classifier (``num_classes=0``) leaves the file's out, and one on the meta device takes the tensors
    themselves. `source` tells in messages where they come from; `new_head` keeps the model's own pooling and classifier
    where those given do not fit.
    """
    own = model.state_dict()
    head: tuple[str, ...] = model.head_names  # type: ignore[assignment]
    given = _adapt_in_chans(adapt_pos_embed(state_dict, model), model)
    if getattr(model, "num_classes", None) == 0:
        given = {n: t for n, t in given.items() if n in own or not n.startswith(head)}
    if new_head:
        for name in [n for n in {**own, **given} if n.startswith(head) and _shape(own, n) != _shape(given, n)]:
            theirs, ours = _shape(given, name), _shape(own, name)
            print(f"{source}: {name} {theirs} left out; the model's own is {ours}", file=sys.stderr)
            given.pop(name, None)
            given |= {name: own[name]} if name in own else {}
    problems = [f"missing: {n}" for n in own if n not in given]
    problems += [f"unexpected: {n}" for n in given if n not in own]
    problems += [
        f"size mismatch: {n} is {_shape(given, n)}, the model has {_shape(own, n)}"
        for n in own
        if n in given and _shape(given, n) != _shape(own, n)
    ]
    if problems:
        only_head = all(problem.split(": ")[1].startswith(head) for problem in problems)
        hint = "\nnew_head=True keeps the model's own pooling and classifier"
        hint = hint if only_head else "\nIs it a checkpoint of this model?"
        raise UserError(f"{source} does not fit {type(model).__name__}:\n  " + "\n  ".join(problems) + hint)
    if on_meta := any(tensor.is_meta for tensor in own.values()):
        device = torch.get_default_device()
        given = {name: tensor.to(device, own[name].dtype, copy=True) for name, tensor in given.items()}
    model.load_state_dict(given, assign=on_meta)


def adapt_pos_embed(state_dict: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the mapping, its position embedding interpolated to the token grid of the model."""
    pairs = _pairs("pos_embed", state_dict, model)
    return state_dict | {name: resize_pos_embed(given, (own.shape[1], own.shape[2])) for name, given, own in pairs}


def _adapt_in_chans(state_dict: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the mapping, the first convolution of a colour model converted, as timm does, to the model's channels."""
    pairs = [(n, given, own.shape[1]) for n, given, own in _pairs("stem.first.conv.weight", state_dict, model)]
    adapted = {n: adapt_input_conv(chans, given) for n, given, chans in pairs if given.shape[1] not in (chans, 1)}
    return state_dict | adapted


def _pairs(
    entry: str, state_dict: dict[str, torch.Tensor], model: nn.Module
) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Find an entry of GPViT, given and own, in a model that is one or holds one; others are left to be reported."""
    own = {n: tensor for n, tensor in model.state_dict().items() if f".{n}".endswith(f".{entry}") and n in state_dict}
    return [(n, state_dict[n], tensor) for n, tensor in own.items() if state_dict[n].ndim == tensor.ndim == 4]


def _shape(tensors: dict[str, torch.Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None
