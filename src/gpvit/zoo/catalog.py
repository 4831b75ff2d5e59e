"""Every model by name: how to build it, what weights are published for it, and how well they score."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpvit.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Weights:
    """One published set of weights.

    Attributes:
        filename: The file's name in the authors' release.
        metrics: Published scores, in percent.
    """

    filename: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class CatalogEntry:
    """What is known about a model beside its code.

    Attributes:
        task: What the model does: ``"classification"``, ``"segmentation"`` or ``"detection"``.
        origin: ``"paper"``, or ``"ours"`` for sizes that are not the paper's.
        weights: Published weights by tag; the first is the default.
        published_params_m: The authors' figure for the parameters, in millions.
        published_gmacs: The paper's figure in billions of multiply-accumulates, for an image of `published_size`.
        published_size: What the figure is for.
    """

    task: str
    origin: str
    weights: dict[str, Weights]
    published_params_m: float | None = None
    published_gmacs: float | None = None
    published_size: str = "224x224, without attention's products"


def _in1k(level: int, top1: float, top5: float) -> dict[str, Weights]:
    return {"in1k": Weights(f"gpvit_l{level}_in1k_300e.pth", {"top1": top1, "top5": top5})}


def _ade20k(decoder: str, level: int, miou: float) -> dict[str, Weights]:
    return {"ade20k": Weights(f"gpvit_l{level}_{decoder}.pth", {"miou": miou})}


def _coco(detector: str, level: int, **scores: tuple[float, float]) -> dict[str, Weights]:
    """Name the weights of both schedules; of each score, 1x comes before 3x."""
    return {
        f"coco_{schedule}": Weights(
            f"gpvit_l{level}_{detector}_{schedule}.pth", {name: both[i] for name, both in scores.items()}
        )
        for i, schedule in enumerate(("1x", "3x"))
    }


def _mask_rcnn(level: int, box: tuple[float, float], mask: tuple[float, float], params: float) -> CatalogEntry:
    return CatalogEntry("detection", "paper", _coco("maskrcnn", level, box_ap=box, mask_ap=mask), params)


def _retinanet(level: int, box: tuple[float, float], params: float) -> CatalogEntry:
    return CatalogEntry("detection", "paper", _coco("retinanet", level, box_ap=box), params)


MODELS: dict[str, CatalogEntry] = {
    "gpvit_nano": CatalogEntry("classification", "ours", {}),
    "gpvit_tiny": CatalogEntry("classification", "ours", {}),
    # The paper's text (Table 2) gives the MACs of L1 and L2 only; the authors' README the parameters and scores.
    "gpvit_l1": CatalogEntry("classification", "paper", _in1k(1, 80.5, 95.4), 9.3, 5.8),
    "gpvit_l2": CatalogEntry("classification", "paper", _in1k(2, 83.4, 96.6), 23.8, 15.0),
    "gpvit_l3": CatalogEntry("classification", "paper", _in1k(3, 84.1, 96.9), 36.2),
    "gpvit_l4": CatalogEntry("classification", "paper", _in1k(4, 84.3, 96.9), 75.4),
    # Table 5: single scale, whole image.
    "upernet_gpvit_nano": CatalogEntry("segmentation", "ours", {}),
    "upernet_gpvit_tiny": CatalogEntry("segmentation", "ours", {}),
    "upernet_gpvit_l1": CatalogEntry("segmentation", "paper", _ade20k("upernet", 1, 49.1), 37),
    "upernet_gpvit_l2": CatalogEntry("segmentation", "paper", _ade20k("upernet", 2, 50.2), 53),
    "upernet_gpvit_l3": CatalogEntry("segmentation", "paper", _ade20k("upernet", 3, 51.7), 66),
    "upernet_gpvit_l4": CatalogEntry("segmentation", "paper", _ade20k("upernet", 4, 52.5), 107),
    "segformer_gpvit_nano": CatalogEntry("segmentation", "ours", {}),
    "segformer_gpvit_tiny": CatalogEntry("segmentation", "ours", {}),
    "segformer_gpvit_l1": CatalogEntry("segmentation", "paper", _ade20k("segformer", 1, 46.9), 9, 34, "512x512"),
    "segformer_gpvit_l2": CatalogEntry("segmentation", "paper", _ade20k("segformer", 2, 49.2), 24),
    "segformer_gpvit_l3": CatalogEntry("segmentation", "paper", _ade20k("segformer", 3, 50.8), 36),
    "segformer_gpvit_l4": CatalogEntry("segmentation", "paper", _ade20k("segformer", 4, 51.3), 76),
    # Tables 3 and 4.
    "mask_rcnn_gpvit_nano": CatalogEntry("detection", "ours", {}),
    "mask_rcnn_gpvit_tiny": CatalogEntry("detection", "ours", {}),
    "mask_rcnn_gpvit_l1": _mask_rcnn(1, (48.1, 50.2), (42.7, 44.3), 33),
    "mask_rcnn_gpvit_l2": _mask_rcnn(2, (49.9, 51.4), (43.9, 45.1), 50),
    "mask_rcnn_gpvit_l3": _mask_rcnn(3, (50.4, 51.6), (44.4, 45.2), 64),
    "mask_rcnn_gpvit_l4": _mask_rcnn(4, (51.0, 52.1), (45.0, 45.7), 109),
    "retinanet_gpvit_nano": CatalogEntry("detection", "ours", {}),
    "retinanet_gpvit_tiny": CatalogEntry("detection", "ours", {}),
    "retinanet_gpvit_l1": _retinanet(1, (45.8, 48.1), 21),
    "retinanet_gpvit_l2": _retinanet(2, (48.0, 49.0), 37),
    "retinanet_gpvit_l3": _retinanet(3, (48.3, 49.4), 52),
    "retinanet_gpvit_l4": _retinanet(4, (48.7, 49.8), 96),
}

SYSTEMS = {
    "upernet": "segmentation",
    "segformer": "segmentation",
    "mask_rcnn": "detection",
    "retinanet": "detection",
}
"""What stands before a backbone's name, and the task that it makes of it."""


def find(name: str) -> CatalogEntry:
    """Look a model up.

    Args:
        name: One of the catalog, or a system of it on any backbone that timm has, as ``"upernet_resnet50"``.

    Raises:
        ValueError: If there is none of that name; the nearest names are proposed.
    """
    if name in MODELS:
        return MODELS[name]
    system, backbone = split_system(name)
    if system:
        import timm

        if timm.is_model(backbone):
            return CatalogEntry(SYSTEMS[system], "timm", {})
    near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(MODELS)}"
    raise UserError(f"unknown model {name!r}; {hint}")


def split_system(name: str) -> tuple[str, str]:
    """Divide the name of a model into system, empty for a backbone alone, and backbone.

    Example:
        >>> split_system("mask_rcnn_gpvit_l1"), split_system("gpvit_l1")
        (('mask_rcnn', 'gpvit_l1'), ('', 'gpvit_l1'))
    """
    system = next((system for system in SYSTEMS if name.startswith(f"{system}_")), "")
    return system, name.removeprefix(f"{system}_") if system else name


def find_weights(name: str, tag: str | None = None) -> tuple[str, Weights]:
    """Look the published weights of a model up by their tag, None for the first, and return both.

    Raises:
        ValueError: If the model has no weights of that tag; those that it has are listed.
    """
    weights = find(name).weights
    if not weights:
        raise UserError(f"no weights are published for {name}; give the path of a file, or train it")
    tag = tag or next(iter(weights))
    if tag not in weights:
        raise UserError(f"no weights {tag!r} and no such file; published for {name}: {', '.join(weights)}")
    return tag, weights[tag]


def create_model(
    name: str,
    weights: str | Path | None = None,
    *,
    backbone_weights: str | Path | None = None,
    new_head: bool = False,
    **kwargs: Any,
) -> "nn.Module":
    """Create a model, with weights if any are named.

    Args:
        name: A name of the catalog, as ``"gpvit_l1"`` or, with a tag, ``"gpvit_l1.in1k"``; or a system on any timm
            backbone, as ``"upernet_resnet50"``.
        weights: Tag of published weights, or the path of an official ``.pth`` or of a file that
            :func:`gpvit.save` wrote. None starts from random values.
        backbone_weights: For a model on a backbone: tag or path of weights of the backbone alone, as ``"in1k"``. What
            was loaded and what was not is printed.
        new_head: Keep the model's own new classifier where the file's does not fit. What is left out is printed.
        **kwargs: Arguments of the model, as ``num_classes`` or ``in_chans``; of a classifier also ``img_size`` and
            timm's ``features_only`` and ``out_indices``. Weights are converted to the channels and the image size.

    Raises:
        ValueError: If the name or tag is unknown, or the weights do not fit.
        FileNotFoundError: If a path leads nowhere.

    Example:
        >>> create_model("gpvit_nano", num_classes=10, in_chans=1).num_classes
        10
    """
    from gpvit.zoo.files import load_weights, read_checkpoint

    name, _, tag = name.partition(".")
    if tag and weights is not None:
        raise UserError(f"both {name}.{tag} and weights={str(weights)!r} name weights; choose one")
    weights = tag or weights
    build = _builder(name)
    if backbone_weights is not None:
        if weights is not None:
            raise UserError(f"weights={str(weights)!r} hold a backbone already; leave out one of the two")
        return _with_backbone_weights(name, build, str(backbone_weights), kwargs)
    if weights is None:
        return build(**kwargs)
    path = _path_of(name, weights)
    checkpoint = read_checkpoint(path)
    if checkpoint.name and checkpoint.name != name:
        raise UserError(f"{path} holds weights of {checkpoint.name}, not of {name}")
    arguments = {**checkpoint.kwargs, **kwargs}
    if arguments.get("features_only"):
        return build(pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **arguments)
    model = build(**arguments)
    load_weights(model, checkpoint.state_dict, source=str(path), new_head=new_head)
    checkpoint.describe(model)
    return model


def _builder(name: str) -> "Callable[..., nn.Module]":
    find(name)
    if split_system(name)[0]:
        from gpvit.zoo.systems import create_system

        return partial(create_system, name)
    import timm

    return partial(timm.create_model, name)


def _with_backbone_weights(
    name: str, build: "Callable[..., nn.Module]", weights: str, kwargs: dict[str, Any]
) -> "nn.Module":
    system, backbone = split_system(name)
    if not system:
        raise UserError(f"{name} is a backbone itself: give its weights as weights={weights!r}")
    if backbone in MODELS:
        from gpvit.zoo.backbone_weights import load_backbone_weights

        path = _path_of(backbone, weights)
        model: Any = build(**kwargs)
        load_backbone_weights(model, path)
        return model
    if not weights.isidentifier():
        raise UserError(f"backbone_weights={weights!r}: of {backbone}, give a tag of timm's pretrained weights")
    own = {"pretrained": True, "pretrained_cfg": weights}  # timm fetches and fits them
    model = build(**{**kwargs, "backbone_kwargs": {**(kwargs.get("backbone_kwargs") or {}), **own}})
    model.gpvit_config = {"name": name, "kwargs": kwargs}  # its own file will bring the weights
    return model


def _path_of(name: str, weights: str | Path) -> Path:
    """Find a file of weights: the path itself, or what a tag of the model stands for."""
    from gpvit.zoo.hub import published_weights

    path = Path(weights)
    is_tag = str(weights).isidentifier() and not path.exists()
    return published_weights(name, str(weights)) if is_tag else path
