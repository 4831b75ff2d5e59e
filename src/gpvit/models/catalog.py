"""Every model by name: how to build it, what weights are published for it, and how well they score."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        task: What the model does.
        origin: ``"paper"``, or ``"ours"`` for sizes that are not the paper's.
        weights: Published weights by tag; the first is the default.
        published_params_m: The authors' figure for the parameters, in millions.
        published_gmacs: The paper's figure for a 224x224 image, in billions of multiply-accumulates.
    """

    task: str
    origin: str
    weights: dict[str, Weights]
    published_params_m: float | None = None
    published_gmacs: float | None = None


def _in1k(level: int, top1: float, top5: float) -> dict[str, Weights]:
    return {"in1k": Weights(f"gpvit_l{level}_in1k_300e.pth", {"top1": top1, "top5": top5})}


MODELS: dict[str, CatalogEntry] = {
    "gpvit_nano": CatalogEntry("classification", "ours", {}),
    "gpvit_tiny": CatalogEntry("classification", "ours", {}),
    # The paper's text (Table 2) gives the MACs of L1 and L2 only; the authors' README the parameters and scores.
    "gpvit_l1": CatalogEntry("classification", "paper", _in1k(1, 80.5, 95.4), 9.3, 5.8),
    "gpvit_l2": CatalogEntry("classification", "paper", _in1k(2, 83.4, 96.6), 23.8, 15.0),
    "gpvit_l3": CatalogEntry("classification", "paper", _in1k(3, 84.1, 96.9), 36.2),
    "gpvit_l4": CatalogEntry("classification", "paper", _in1k(4, 84.3, 96.9), 75.4),
}


def find(name: str) -> CatalogEntry:
    """Look a model up.

    Raises:
        ValueError: If there is none of that name; the nearest names are proposed.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(MODELS)}"
        raise ValueError(f"unknown model {name!r}; {hint}")
    return MODELS[name]


def find_weights(name: str, tag: str | None = None) -> tuple[str, Weights]:
    """Look the published weights of a model up by their tag, None for the first, and return both.

    Raises:
        ValueError: If the model has no weights of that tag; those that it has are listed.
    """
    weights = find(name).weights
    if not weights:
        raise ValueError(f"no weights are published for {name}; give the path of a file, or train it")
    tag = tag or next(iter(weights))
    if tag not in weights:
        raise ValueError(f"no weights {tag!r} and no such file; published for {name}: {', '.join(weights)}")
    return tag, weights[tag]


def create_model(name: str, weights: str | Path | None = None, *, new_head: bool = False, **kwargs: Any) -> "nn.Module":
    """Create a model, with weights if any are named.

    Args:
        name: A name of the catalog, as ``"gpvit_l1"`` or, with a tag, ``"gpvit_l1.in1k"``.
        weights: Tag of published weights, or the path of an official ``.pth`` or of a file that
            :func:`gpvit.save` wrote. None starts from random values.
        new_head: Keep the model's own new pooling and classifier where the file's do not fit. What is left out is
            printed.
        **kwargs: Arguments of the model, as ``num_classes``, ``in_chans`` or ``img_size``; also timm's
            ``features_only`` and ``out_indices``. Weights are converted to the channels and the image size.

    Raises:
        ValueError: If the name or tag is unknown, or the weights do not fit.
        FileNotFoundError: If ``weights`` is a path and there is no such file.

    Example:
        >>> create_model("gpvit_nano", num_classes=10, in_chans=1).num_classes
        10
    """
    import timm

    from gpvit.models.checkpoints import load_weights, read_checkpoint
    from gpvit.models.download import published_weights

    name, _, tag = name.partition(".")
    if tag and weights is not None:
        raise ValueError(f"both {name}.{tag} and weights={str(weights)!r} name weights; choose one")
    weights = tag or weights
    find(name)
    if weights is None:
        return timm.create_model(name, **kwargs)
    path = Path(weights)
    if str(weights).isidentifier() and not path.exists():  # a tag
        path = published_weights(name, str(weights))
    checkpoint = read_checkpoint(path)
    if checkpoint.name and checkpoint.name != name:
        raise ValueError(f"{path} holds weights of {checkpoint.name}, not of {name}")
    arguments = {**checkpoint.kwargs, **kwargs}
    if arguments.get("features_only"):
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **arguments)
    model = timm.create_model(name, **arguments)
    load_weights(model, checkpoint.state_dict, source=str(path), new_head=new_head)
    checkpoint.describe(model)
    return model
