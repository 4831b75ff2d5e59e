"""The names of the authors' released checkpoints, turned into ours.

Their files hold ``{"meta": ..., "state_dict": ...}``, and every entry has its counterpart here. What changes beside the
names: the position embedding is laid out as a grid, the queries, keys and values of a local block are divided between
its two directions, and the class logits of Mask R-CNN begin with the background, with which theirs end.
"""

import math
import re
from collections.abc import Callable
from configparser import ConfigParser
from functools import cache, partial
from pathlib import Path

import torch

from gpvit.errors import UserError

Weights = dict[str, torch.Tensor]
_LEAF = r"(?P<leaf>(\.conv|\.bn)?(\.(weight|bias|running_mean|running_var|num_batches_tracked))?)"
_LEVELS = r"neck\.lateral_convs\.(\d+)\.conv\.weight"
_BACKGROUND_LAST = re.compile(r"roi_head\.bbox_head\.fc_cls\.(?:weight|bias)")
_PART = {"conv": "0", "norm": "1"}  # torchvision's names of a convolution and of the norm after it


def is_official(state_dict: Weights) -> bool:
    """Tell whether these are the names of the authors' code."""
    return "backbone.patch_embed.projection.weight" in state_dict


def convert_official(state_dict: Weights) -> Weights:
    """Give the tensors of an official checkpoint the names and shapes that they have here."""
    if any(name.startswith("decode_head.") for name in state_dict):
        # timm's wrapper for features holds the backbone as its model
        return convert_with_backbone(state_dict, "backbone.model.", partial(_match, "on_backbone"))
    levels = sum(re.fullmatch(_LEVELS, name) is not None for name in state_dict)
    if not levels:
        return convert_with_backbone(state_dict, "", partial(_match, "on_backbone"))
    ordered = {n: tensor.roll(1, 0) if _BACKGROUND_LAST.fullmatch(n) else tensor for n, tensor in state_dict.items()}
    return convert_with_backbone(ordered, "backbone.body.backbone.", partial(_rename_in_detector, levels))


def convert_with_backbone(state_dict: Weights, prefix: str, rename: Callable[[str], str | None]) -> Weights:
    """Convert a model whose backbone's names begin with `prefix` here; `rename` names what is beside the backbone."""
    converted: Weights = {}
    unknown = []
    for name, tensor in state_dict.items():
        if qkv := re.fullmatch(r"backbone\.layers\.(\d+)\.qkv\.(weight|bias)", name):
            converted |= _divide_qkv(tensor, f"{prefix}blocks.{qkv[1]}.attn", qkv[2])
        elif new := rename(name):
            converted[new] = tensor
        elif name.startswith("backbone.") and (new := _rename_in_backbone(name.removeprefix("backbone."))):
            converted[prefix + new] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise UserError(f"is no official GPViT checkpoint: no counterpart for {', '.join(unknown)}")
    if (name := f"{prefix}pos_embed") in converted:
        converted[name] = _square_grid(converted[name])
    return converted


def rename_in_adapter(name: str) -> str | None:
    """Give an entry beside the transformer its name in a ``ViTAdapter``; None for one of the transformer."""
    name = name.removeprefix("backbone.")
    if part := re.match(r"interactions\.(\d+)\.(injector|extractor|extra_extractors\.(\d+))\.", name):
        # Their extra extractors belong to the last interaction; ours follow the others in one list.
        place = int(part[1]) + (int(part[3]) + 1 if part[3] else 0)
        kind = "injectors" if part[2] == "injector" else "extractors"
        return _match("interaction", name[part.end() :], prefix=f"{kind}.{place}.")
    # Theirs are numbered from fine to coarse, ours named by the stride.
    name = re.sub(r"^(spm\.conv|spm\.fc|ad_norm)(\d)", lambda part: f"{part[1]}{2 ** (int(part[2]) + 1)}", name)
    return _match("adapter", name)


def _rename_in_detector(levels: int, name: str) -> str | None:
    """Give an entry its name here; of the pyramid's convolutions those after the backbone's levels are extra."""
    if in_adapter := rename_in_adapter(name):
        return f"backbone.body.{in_adapter}"
    if (conv := re.match(r"neck\.fpn_convs\.(\d+)", name)) and int(conv[1]) >= levels:
        name = f"neck.extra_convs.{int(conv[1]) - levels}{name[conv.end() :]}"
    new = _match("on_backbone", name)
    return new and re.sub(r"\.(conv|norm)(\.\w+)$", lambda part: f".{_PART[part[1]]}{part[2]}", new)


def _rename_in_backbone(name: str) -> str | None:
    if block := re.match(r"layers\.(\d+)\.", name):
        return _match("block", name[block.end() :], prefix=f"blocks.{block[1]}.")
    if conv := re.match(r"patch_embed\.convs\.(\d+)", name):  # conv, norm, ReLU, conv, norm, ReLU, ...
        stage, part = divmod(int(conv[1]), 3)
        return f"stem.extra.{stage}.{('conv', 'norm')[part]}{name[conv.end() :]}"
    return _match("backbone", name)


def _divide_qkv(tensor: torch.Tensor, prefix: str, leaf: str) -> Weights:
    """Divide ``(3C, *)`` into ``(3C/2, *)`` for each direction, which take half of each of q, k and v."""
    halves = tensor.unflatten(0, (3, 2, -1)).unbind(1)
    return {
        f"{prefix}.{way}.qkv.{leaf}": h.flatten(0, 1) for way, h in zip(("vertical", "horizontal"), halves, strict=True)
    }


@cache
def _names(section: str) -> list[tuple[re.Pattern[str], str]]:
    """Read a section of the table of names: patterns, and what takes the place of what they match."""
    table = ConfigParser()
    table.read(Path(__file__).with_name("official_names.ini"), encoding="utf-8")
    names = table[section].items()
    return [(re.compile(re.escape(theirs).replace(r"\*", r"(\d+)") + _LEAF), ours) for theirs, ours in names]


def _match(section: str, name: str, prefix: str = "") -> str | None:
    """Rename by the first pattern that fits, None if none does; what the authors call ``bn`` is ``norm`` here."""
    for pattern, ours in _names(section):
        if match := pattern.fullmatch(name):
            return prefix + ours.replace("*", match[1] or "") + match["leaf"].replace(".bn.", ".norm.")
    return None


def _square_grid(pos_embed: torch.Tensor) -> torch.Tensor:
    """Lay out ``(1, N, C)`` as ``(1, sqrt N, sqrt N, C)``; released embeddings are square (28x28)."""
    side = math.isqrt(pos_embed.shape[1])
    if side**2 != pos_embed.shape[1]:
        raise UserError(f"has {pos_embed.shape[1]} tokens in backbone.pos_embed, which make no square grid")
    return pos_embed.unflatten(1, (side, side))
