"""Weight files that describe themselves, and strict, safe loading of them and of the authors'.

A file of ours is a safetensors file whose metadata holds, as JSON under ``gpvit``, everything needed to build the
model and to prepare its images. Nothing is ever unpickled but tensors and plain data.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from timm.models import adapt_input_conv
from torch import nn

from gpvit.errors import UserError
from gpvit.io import replacing
from gpvit.ops.resizing import resize_pos_embed
from gpvit.version import __version__
from gpvit.zoo.official import convert_official, is_official

PREPROCESSING_KEYS: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "mean": (0.5,),
    "std": (0.5,),
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "max_size": (2048, 512),
    "size_divisor": 32,
    "label_names": ("cat",),
    "label_colors": ((0, 0, 0),),
    "category_ids": (1,),
}
"""What a file may tell of images and classes, named as in timm's ``pretrained_cfg``, with examples."""

_METADATA: dict[str, Any] = {"name": "", "kwargs": {}, "inputs": {}, "version": "", "source": ""}


@dataclass
class Checkpoint:
    """Weights and what their file says about them.

    Attributes:
        state_dict: Tensors under this package's names.
        name: Name of the model in the catalog; empty for an official file, which does not say.
        kwargs: Arguments that the model was created with.
        inputs: How its images were prepared (``PREPROCESSING_KEYS``).
        version: Version of the package that wrote the file.
        source: Where the weights came from, if they were converted.
    """

    state_dict: dict[str, torch.Tensor]
    name: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    source: str = ""

    def apply_preprocessing_to(self, model: nn.Module) -> None:
        """Let a model's ``pretrained_cfg`` say how these weights' images are prepared and what classes are called."""
        model.pretrained_cfg = {**model.pretrained_cfg, **self.inputs}  # type: ignore[dict-item, assignment]


def save(
    model: nn.Module,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    inputs: dict[str, Any] | None = None,
    source: str = "",
) -> None:
    """Write a model's weights and all that is needed to use them, whole or not at all.

    Args:
        model: A model from :func:`gpvit.create_model` or timm.
        path: Where to write, ending in ``.safetensors``.
        class_names: Names of the classes, in the order of the logits.
        inputs: What replaces the ``PREPROCESSING_KEYS`` in the model's ``pretrained_cfg``.
        source: Where the weights came from, if they were converted.

    Raises:
        ValueError: If the ending is another, the model is not from the catalog, or the names do not match the head.
    """
    path = Path(path)
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
        temporary.write_bytes(serialize(tensors, metadata={"gpvit": json.dumps(description)}))


def _preprocessing(model: Any) -> dict[str, Any]:
    """Describe how a model's images are prepared, at its own size and with its own channels."""
    size = getattr(model, "img_size", model.pretrained_cfg["input_size"][1:])
    cfg = {**model.pretrained_cfg, "input_size": (model.in_chans, *size)}
    if model.in_chans == 1:  # gray, where the configuration may still describe colour
        cfg |= {key: [sum(cfg[key]) / len(cfg[key])] for key in ("mean", "std")}
    return cfg


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of ours, or an official ``.pth``, whose names are converted.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, foreign, or holds anything but tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        return _read_own(path) if path.suffix == ".safetensors" else _read_official(path)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except Exception as error:  # what a damaged byte raises in torch, zipfile or pickle is anything
        raise UserError(
            f"{path} is damaged, or holds more than tensors and plain data; it was not opened further ({error})"
        ) from error


def _read_official(path: Path) -> Checkpoint:
    content = torch.load(path, map_location="cpu", weights_only=True)
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not isinstance(state_dict, dict) or not is_official(state_dict):
        raise UserError("is no official GPViT checkpoint; a training run's weights are in its best.safetensors")
    return Checkpoint(convert_official(state_dict))


def _read_own(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    if "gpvit" not in metadata:
        raise UserError("was not written by gpvit.save: its metadata has no entry 'gpvit'")
    description = json.loads(metadata["gpvit"])
    check_values("metadata", description, _METADATA)
    check_values("inputs", description.get("inputs", {}), PREPROCESSING_KEYS)
    return Checkpoint(tensors, **description)


def check_values(where: str, given: Any, known: dict[str, Any]) -> None:
    """Refuse what is no mapping, names unknown keys, or gives a key a value of another kind.

    Args:
        where: The part of the metadata that this is.
        given: Plain data.
        known: An example of each key's value; of a tuple's the elements, if it has any; None for anything.

    Raises:
        ValueError: Names the key; the file's name is to stand before the message.
    """
    if not isinstance(given, dict):
        raise UserError(f"is not as gpvit.save writes it: {where} must be a mapping; got {given!r:.100}")
    for key, value in given.items():
        if key not in known:
            raise UserError(
                f"sets {key!r} in its {where}, which gpvit {__version__} takes from no file; it is of another version, "
                "or not as gpvit.save writes it"
            )
        if not _is_like(value, known[key]):
            raise UserError(
                f"sets {key} in its {where} to {value!r:.100}; allowed are values such as {known[key]!r:.100}"
            )


def _is_like(value: Any, example: Any) -> bool:
    if value is None or example is None:
        return True
    if isinstance(value, list | tuple) and not isinstance(example, str | dict):
        element = (example or (None,))[0] if isinstance(example, tuple) else example
        return all(_is_like(each, element) for each in value)
    return type(value) is type(example) or (type(value) is int and isinstance(example, float))


def load_weights(model: nn.Module, state_dict: dict[str, torch.Tensor], *, source: str, new_head: bool = False) -> None:
    """Load weights strictly, but converted to the model's image channels and token grid.

    A model without classifier (``num_classes=0``) leaves the file's out.

    Args:
        model: What to load into; one on the meta device takes the tensors themselves, in its own precision.
        state_dict: Tensors under this package's names.
        source: Where they come from, for messages.
        new_head: Keep the model's own pooling and classifier where those given do not fit, and print so.

    Raises:
        ValueError: If entries are missing, unexpected or of another shape; all are listed.
    """
    own = model.state_dict()
    head: tuple[str, ...] = model.head_names  # type: ignore[assignment]
    given = adapt_in_chans(adapt_pos_embed(state_dict, model), model)
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
    adapted = dict(state_dict)
    for name, own in _ending_with("pos_embed", model):
        given = state_dict.get(name)
        if given is not None and given.ndim == own.ndim == 4:  # else left for the strict comparison to report
            adapted[name] = resize_pos_embed(given, (own.shape[1], own.shape[2]))
    return adapted


def adapt_in_chans(state_dict: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the mapping, the first convolution of a colour model converted, as timm does, to the model's channels."""
    adapted = dict(state_dict)
    for name, own in _ending_with("stem.first.conv.weight", model):
        given = state_dict.get(name)
        if given is not None and given.ndim == own.ndim and given.shape[1] not in (own.shape[1], 1):
            adapted[name] = adapt_input_conv(own.shape[1], given)
    return adapted


def _ending_with(name: str, model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Find an entry of GPViT in a model that is one or holds one."""
    return [(n, tensor) for n, tensor in model.state_dict().items() if n == name or n.endswith(f".{name}")]


def _shape(tensors: dict[str, torch.Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None
