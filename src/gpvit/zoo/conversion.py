"""Official checkpoints turned into self-describing files."""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpvit.errors import UserError
from gpvit.models.backbone import STRIDE
from gpvit.models.variants import VARIANTS
from gpvit.zoo.catalog import create_model, find
from gpvit.zoo.files import load_weights, read_checkpoint, save

_STEM = re.compile(r"(^|\.)stem\.(first|extra|proj)\b")  # the spatial prior of an adapter has a stem of its own
_PARTS = {
    "upernet": "decoder.bottleneck.conv.weight",
    "segformer": "decoder.project.0.conv.weight",
    "mask_rcnn": "roi_heads.box_predictor.cls_score.weight",
    "retinanet": "head.regression_head.bbox_reg.weight",
}


def convert_file(official: str | Path, out: str | Path, name: str | None = None) -> tuple[str, nn.Module]:
    """Convert an official ``.pth`` and write it with all that is needed to use it; no weight is left out or made up.

    Args:
        official: A file of the authors' release, or from their code.
        out: Where to write, ending in ``.safetensors``.
        name: Name of the model in the catalog; None finds it by the shapes of the weights.

    Returns:
        The model's name, and the model with the weights, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, of no known model, or does not fit the one named.
    """
    checkpoint = read_checkpoint(official)
    if checkpoint.name:
        raise UserError(f"{official} is no official file but one of ours already, of {checkpoint.name}")
    weights = checkpoint.state_dict
    name = name or identify(weights, source=str(official))
    with torch.device("meta"):
        model = create_model(name, **_arguments(weights, find(name).task))
    model.to_empty(device="cpu")
    load_weights(model, weights, source=str(official))
    with Path(official).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    save(model, out, source=f"{Path(official).name} sha256:{digest}")
    return name, model.eval()


def identify(state_dict: dict[str, torch.Tensor], source: str) -> str:
    """Find the model of the catalog that weights belong to: its backbone by width and stem, and what stands on it.

    Args:
        state_dict: Tensors under this package's names.
        source: Where they come from, for messages.

    Raises:
        ValueError: If no backbone has this width and stem.
    """
    traits = _traits(state_dict)
    known = {}
    for name in VARIANTS:
        with torch.device("meta"):
            known[name] = _traits(create_model(name).state_dict())
        if known[name] == traits:
            return _system(state_dict) + name
    table = "\n".join(f"  {name}: {_in_words(*known[name])}" for name in known)
    raise UserError(f"{source} has {_in_words(*traits)}, which no model of the catalog has:\n{table}")


def _arguments(weights: dict[str, torch.Tensor], task: str) -> dict[str, Any]:
    """Read off weights the arguments of their model: token grid, so that nothing is interpolated, and classes."""
    grid = _find(weights, "pos_embed").shape[1:3]
    size = {"img_size": (grid[0] * STRIDE, grid[1] * STRIDE)}
    if task == "segmentation":
        return {"num_classes": len(weights["decoder.classifier.weight"]), "backbone_kwargs": size}
    if task == "detection":
        return {"num_classes": _detected_classes(weights), "backbone_kwargs": size}
    return {"num_classes": len(weights["head.weight"]) if "head.weight" in weights else 0, **size}


def _detected_classes(weights: dict[str, torch.Tensor]) -> int:
    if "roi_heads.box_predictor.cls_score.bias" in weights:
        return len(weights["roi_heads.box_predictor.cls_score.bias"]) - 1  # the first is the background
    anchors = len(weights["head.regression_head.bbox_reg.bias"]) // 4
    return len(weights["head.classification_head.cls_logits.bias"]) // anchors


def _system(weights: dict[str, torch.Tensor]) -> str:
    """Tell by a part that no other has which system weights are of, as its models' names begin."""
    for system, part in _PARTS.items():
        if part in weights:
            return f"{system}_"
    return ""


def _traits(state_dict: dict[str, torch.Tensor]) -> tuple[int, int]:
    stem_convs = sum(bool(_STEM.search(name)) and tensor.ndim == 4 for name, tensor in state_dict.items())
    return _find(state_dict, "pos_embed").shape[-1], stem_convs


def _find(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return an entry of the backbone, wherever the model holds it."""
    return next(tensor for n, tensor in weights.items() if n == name or n.endswith(f".{name}"))


def _in_words(channels: int, stem_convs: int) -> str:
    return f"{channels} channels and {stem_convs} convolutions in the stem"
