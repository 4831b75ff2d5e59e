"""Official checkpoints turned into self-describing files."""

import hashlib
from pathlib import Path

import timm
import torch
from torch import nn

from gpvit.models.backbone import STRIDE
from gpvit.models.catalog import MODELS, find
from gpvit.models.checkpoints import load_weights, read_checkpoint, save


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
        raise ValueError(f"{official} is no official file but one of ours already, of {checkpoint.name}")
    weights = checkpoint.state_dict
    name = name or identify(weights, source=str(official))
    find(name)
    grid = weights["pos_embed"].shape[1:3]
    head = weights.get("head.weight")
    with torch.device("meta"):
        model = timm.create_model(
            name,
            img_size=(grid[0] * STRIDE, grid[1] * STRIDE),  # so that the position embedding stays as it is
            num_classes=0 if head is None else len(head),
        )
    model.to_empty(device="cpu")
    load_weights(model, weights, source=str(official))
    with Path(official).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    save(model, out, source=f"{Path(official).name} sha256:{digest}")
    return name, model.eval()


def identify(state_dict: dict[str, torch.Tensor], source: str) -> str:
    """Find the model of the catalog that weights belong to, by their width and their stem.

    Args:
        state_dict: Tensors under this package's names.
        source: Where they come from, for messages.

    Raises:
        ValueError: If no model has this width and stem.
    """
    traits = _traits(state_dict)
    known = {}
    for name in MODELS:
        with torch.device("meta"):
            known[name] = _traits(timm.create_model(name).state_dict())
        if known[name] == traits:
            return name
    table = "\n".join(f"  {name}: {_in_words(*known[name])}" for name in MODELS)
    raise ValueError(f"{source} has {_in_words(*traits)}, which no model of the catalog has:\n{table}")


def _traits(state_dict: dict[str, torch.Tensor]) -> tuple[int, int]:
    stem_convs = sum(name.startswith("stem.") and tensor.ndim == 4 for name, tensor in state_dict.items())
    return state_dict["pos_embed"].shape[-1], stem_convs


def _in_words(channels: int, stem_convs: int) -> str:
    return f"{channels} channels and {stem_convs} convolutions in the stem"
