"""Weights of a classifier put into the backbone of another model, as dense prediction starts its training."""

import sys
from pathlib import Path

import torch
from torch import nn

from gpvit.models.backbone import GPViT
from gpvit.zoo.files import load_weights, read_checkpoint

_OPTIONAL = ("feature_norms.", "norm.")  # what only some uses of a backbone have
_CLASSIFIER = ("head.", "pool.")


def load_backbone_weights(model: nn.Module, path: str | Path) -> None:
    """Load the GPViT inside a model, and say on stderr what was loaded, what stays new and what was left out.

    Only norms of features may be missing, and only the classifier and norms be left out.

    Args:
        model: Holds the GPViT to load into; image channels and token grid may differ from the file's.
        path: A classifier's file, of this package or of the authors, or that of a model with such a backbone.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If anything else is missing, unexpected or misshapen.
    """
    backbone = next(module for module in model.modules() if isinstance(module, GPViT))
    given = _of_backbone(read_checkpoint(path).state_dict)
    own = backbone.state_dict()
    new = {n: t for n, t in own.items() if n not in given and n.startswith(_OPTIONAL)}
    left_out = [n for n in given if n not in own and n.startswith((*_OPTIONAL, *_CLASSIFIER))]
    loaded = {n: t for n, t in given.items() if n not in left_out}
    load_weights(backbone, {**loaded, **new}, source=str(path))
    report = f"{path}: {len(loaded)} tensors loaded into the backbone"
    for what, names in (("new", new), ("left out", left_out)):
        if names:
            report += f"; {what}: {', '.join(sorted(dict.fromkeys(n.rpartition('.')[0] for n in names)))}"
    print(report, file=sys.stderr)


def _of_backbone(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take a backbone's entries out of those of a model that holds one; its own keep their names."""
    name = next((n for n in state_dict if n.endswith("pos_embed")), "pos_embed")
    prefix = name.removesuffix("pos_embed")
    return {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
