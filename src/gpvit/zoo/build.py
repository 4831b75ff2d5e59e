"""Networks with random weights by name: a GPViT, or a segmentation or detection system on a backbone of timm."""

import inspect
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any

import timm
from torch import nn

from gpvit.errors import UserError, nearest
from gpvit.models.segmenter import DECODERS
from gpvit.models.variants import check_new_name
from gpvit.runtime.facts import check_values
from gpvit.zoo.catalog import MODELS, SYSTEMS, CatalogEntry, find

# Imported when a model of theirs is built: a classifier needs no detector.
_CLASSES = {
    "": "gpvit.models.backbone:GPViT",
    "mask_rcnn": "gpvit.models.detection.mask_rcnn:MaskRCNN",
    "retinanet": "gpvit.models.detection.retinanet:RetinaNet",
}
_OF_DECODERS = "gpvit.models.segmenter:Segmenter"
_OWN_SYSTEMS = frozenset(SYSTEMS)
_CHANNELS = {"gpvit_nano": 64, "gpvit_tiny": 128}  # of a detector on our own small backbones
_DECODER_CHANNELS = {"gpvit_nano": 128, "gpvit_tiny": 192}  # the same of a segmenter
_NEVER_STORED = ("pretrained", "weights", "cache_dir", "checkpoint", "url", "file", "hf_hub_id")
_LIMIT = 2**20  # of the numbers in a file's description; a network of larger ones would exhaust the memory
_LARGEST_SIDE = 2**12  # of the images that its position embedding is resized to


def register_decoder(name: str, decoder: Callable[..., nn.Module]) -> None:
    """Add a segmentation decoder, whose name then stands before a backbone's as ``upernet`` does.

    Args:
        name: As in ``create_model("NAME_gpvit_l1")``. A name registered before is given to the new decoder.
        decoder: Class of a module, or a function that makes one. It is called with the channels ``C_i`` of each
            feature, the number of classes ``K`` and the model's ``decoder_kwargs``, and maps the list of features
            ``(B, C_i, h_i, w_i)``, the finest first, to logits ``(B, K, h_0, w_0)``.

    Raises:
        ValueError: If the name is one of this package's own systems, or no name at all.

    Example:
        >>> class Linear(torch.nn.Conv2d):
        ...     def __init__(self, channels, num_classes):
        ...         super().__init__(channels[-1], num_classes, kernel_size=1)
        ...     def forward(self, features):
        ...         return super().forward(features[-1])
        >>> register_decoder("linear", Linear)
        >>> create_model("linear_gpvit_l1", num_classes=19)(torch.rand(1, 3, 64, 96)).shape
        torch.Size([1, 19, 64, 96])
    """
    check_new_name("decoder", name, decoder, _OWN_SYSTEMS)
    DECODERS[name] = decoder
    SYSTEMS[name] = "segmentation"


def check_arguments(entry: CatalogEntry, given: Iterable[str]) -> None:
    """Refuse arguments that :func:`build` does not know for a model, and propose the nearest known one."""
    known = _defaults(entry)
    for unknown in given:
        if unknown not in known:
            raise UserError(f"{entry.name} has no option {unknown!r}; {nearest(unknown, known)}")


def build(model: str | CatalogEntry, **kwargs: Any) -> nn.Module:
    """Build a model with random weights, by its name or entry.

    The arguments are those of its class, but for what the name says; of a classifier also timm's ``features_only`` and
    ``out_indices``.
    """
    entry = find(model) if isinstance(model, str) else model
    check_arguments(entry, kwargs)
    if not entry.system:
        return timm.create_model(entry.backbone, **kwargs)
    arguments: dict[str, Any] = dict(kwargs)
    if entry.task == "segmentation":
        is_small = entry.backbone in _DECODER_CHANNELS and entry.system in _OWN_SYSTEMS
        own = {"channels": _DECODER_CHANNELS[entry.backbone]} if is_small else {}
        arguments |= {"decoder": entry.system, "decoder_kwargs": {**own, **(kwargs.get("decoder_kwargs") or {})}}
    elif entry.backbone in _CHANNELS:
        arguments.setdefault("channels", _CHANNELS[entry.backbone])
    network: Any = pkgutil.resolve_name(_CLASSES.get(entry.system, _OF_DECODERS))(entry.backbone, **arguments)
    stored = dict(kwargs)  # its file brings the weights
    if backbone := kwargs.get("backbone_kwargs"):
        stored["backbone_kwargs"] = {k: v for k, v in backbone.items() if not k.startswith(_NEVER_STORED)}
    network.gpvit_config = {"name": entry.name, "kwargs": stored}
    return network


def check_stored_arguments(entry: CatalogEntry, kwargs: dict[str, Any]) -> None:
    """Refuse what a file must not set: it may describe a network, but name no address, path or weights."""
    known = {key: example for key, example in _defaults(entry).items() if key != "features_only"}
    check_values("kwargs", kwargs, known)
    if entry.system:
        own = _defaults(find(entry.backbone)) if entry.backbone in MODELS else _timm_arguments(entry.backbone)
        allowed = {key: example for key, example in own.items() if not key.startswith(_NEVER_STORED)}
        check_values("backbone_kwargs", kwargs.get("backbone_kwargs") or {}, {**allowed, "out_indices": ()})
    size = (kwargs.get("backbone_kwargs") or kwargs).get("img_size")
    if _largest(kwargs) > _LIMIT or _largest(size) > _LARGEST_SIDE:
        raise UserError(
            f"sets numbers beyond {_LIMIT:,}, or images beyond {_LARGEST_SIDE:,} pixels, in its kwargs, {kwargs!r:.200}"
        )


def _largest(value: Any) -> float:
    """Return the largest magnitude of all numbers in plain data."""
    if isinstance(value, dict | list | tuple):
        return max(map(_largest, value.values() if isinstance(value, dict) else value), default=0)
    return abs(value) if isinstance(value, int | float) else 0


def _defaults(entry: CatalogEntry) -> dict[str, Any]:
    """Return the arguments that :func:`build` takes for a model, with their defaults."""
    parameters = inspect.signature(pkgutil.resolve_name(_CLASSES.get(entry.system, _OF_DECODERS))).parameters
    own = {name: parameter.default for name, parameter in parameters.items()}
    if not entry.system:
        return {**own, "features_only": False, "out_indices": ()}
    return {name: default for name, default in own.items() if name not in ("backbone", "decoder")}


def _timm_arguments(backbone: str) -> dict[str, Any]:
    """Return the arguments of the networks in the module that defines a backbone of timm, of any values."""
    module = inspect.getmodule(timm.model_entrypoint(backbone))
    defined = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, nn.Module)]
    return {name: None for each in defined for name in inspect.signature(each).parameters}
