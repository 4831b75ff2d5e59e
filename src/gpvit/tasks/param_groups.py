"""Which parameters learn, at which rate, and which of them decay."""

import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any, Literal

from timm.models import group_parameters
from torch import nn

from gpvit.errors import UserError

Frozen = Literal["backbone"] | int
"""What is frozen: the `backbone`, or its stem and so many of its blocks, from the first.

The backbone is the transformer that classification pretrains, up to its last norm. What dense prediction adds learns:
adapter, pyramid, heads, and the norms of the features of single blocks. So do a classifier's pooling and head.
"""

_PLACES = ("backbone.body.backbone", "backbone.model", "backbone")  # in detectors; in segmenters, with timm's wrapper
_NEW = ("feature_norms.",)  # no classifier has them
_REST_LR_SCALE = 0.3  # of AdamW's rate beside Muon's


def find_transformer(network: nn.Module) -> tuple[str, Any]:
    """Find what classification has pretrained in any network, without adapters, and the prefix of its parameters."""
    modules = dict(network.named_modules())
    place = next((place for place in _PLACES if place in modules), "")
    return f"{place}." if place else "", modules[place]


def layer_numbers(network: nn.Module, option: str) -> dict[str, int]:
    """Number the layers of the transformer's parameters, for an option: 0 for stem and positions, then blocks from 1.

    What follows the blocks, as norms, counts as the last; the classifier of a classifier, as one more.
    """
    prefix, transformer = find_transformer(network)
    if not hasattr(transformer, "group_matcher") or not hasattr(transformer, "blocks"):
        raise UserError(
            f"{option} needs a plain transformer, whose blocks it can count, not {type(transformer).__name__}; "
            "leave it out, or take a GPViT or a ViT"
        )
    layers = group_parameters(transformer, transformer.group_matcher(coarse=False), reverse=True)
    return {f"{prefix}{name}": int(layer) for name, layer in layers.items()}


def freeze(network: nn.Module, part: Frozen | None, is_trained: bool = True) -> None:
    """Exclude a part of a network from learning, for good; where it is not trained, a warning says so.

    Its parameters get no gradient, so that an optimiser that skips such neither moves them nor keeps anything for them.
    Its modules stay in evaluation mode, whatever mode the network is put into: batch norms keep their statistics, and
    nothing is dropped.
    """
    if part is None:
        return
    if not is_trained:
        warnings.warn(
            f"freeze: {part} keeps random values as they are; name trained weights by weights or backbone_weights",
            stacklevel=2,
        )
    names = _frozen_names(network, part)
    for name, parameter in network.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
            # Lightning and others call `train` on what holds the module, which passes it on to its parts.
            module.train = MethodType(_stay, module)  # type: ignore[method-assign]


def _frozen_names(network: nn.Module, part: Frozen) -> set[str]:
    prefix, transformer = find_transformer(network)
    if part == "backbone":
        learning = _NEW + (getattr(transformer, "head_names", ()) if transformer is network else ())
        return {f"{prefix}{name}" for name, _ in transformer.named_parameters() if not name.startswith(learning)}
    layers = layer_numbers(network, f"freeze: {part}")
    count = len(transformer.blocks)
    if not 0 <= part <= count:
        raise UserError(
            f"freeze: {part}, but the backbone has {count} blocks; give 0, for its stem alone, to {count}, or "
            "'backbone'"
        )
    blocks = tuple(f"{prefix}blocks.{i}." for i in range(part))
    return {name for name, layer in layers.items() if layer == 0 or name.startswith(blocks)}


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for `train` of a frozen module."""
    return module


def parameter_groups(
    network: Any,
    *,
    lr: float,
    weight_decay: float,
    no_decay: str = "norms_and_biases",
    head_lr_scale: float = 1.0,
    layer_decay: float | None = None,
    muon: bool = False,
) -> list[dict[str, Any]]:
    """Sort the parameters that learn into groups of one learning rate and one weight decay, as `OptimConfig` says.

    Where a segmenter or a detector stands on the transformer, `layer_decay` slows its last layer, too (as in ViTDet).
    `muon` marks what is no matrix, the classifier, embeddings and tokens for AdamW beside timm's Muon.
    """
    spared = NO_DECAY[no_decay](network)
    layer_scale = {}
    if layer_decay is not None:
        layers = layer_numbers(network, f"layer_decay: {layer_decay}")
        is_whole = find_transformer(network)[1] is network  # a classifier, whose head is the last of the layers
        top = max(layers.values()) + (not is_whole)
        layer_scale = {name: layer_decay ** (top - layer) for name, layer in layers.items()}
    has_backbone = hasattr(network, "backbone")
    groups: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = not name.startswith("backbone.") if has_backbone else name.startswith(network.head_names)
        group: dict[str, Any] = {
            "lr": lr * layer_scale.get(name, 1.0) * (head_lr_scale if in_head else 1.0),
            "weight_decay": 0.0 if name in spared else weight_decay,
        }
        is_matrix = parameter.ndim > 1 and min(parameter.shape[:2]) > 1
        if muon and (not is_matrix or name.startswith(network.head_names)):
            group |= {"lr": group["lr"] * _REST_LR_SCALE, "use_fallback": True}
        groups.setdefault(tuple(group.items()), {"params": [], **group})["params"].append(parameter)
    return list(groups.values())


def _norms_and_biases(network: Any) -> set[str]:
    # code: the biases of depthwise convolutions (LePE's) do decay in the authors' training.
    depthwise_biases = {
        f"{name}.bias"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    }
    vectors = {name for name, parameter in network.named_parameters() if parameter.ndim <= 1}
    return network.no_weight_decay() | (vectors - depthwise_biases)


def _backbone_norms_and_biases(network: Any) -> set[str]:
    return {name for name in _norms_and_biases(network) if name.startswith("backbone.")}


def _layer_norms(network: Any) -> set[str]:
    layer_norms = {
        f"{name}.{leaf}"
        for name, module in network.named_modules()
        if isinstance(module, nn.LayerNorm) and name != "backbone.model.norm"
        for leaf, _ in module.named_parameters()
    }
    return network.no_weight_decay() | layer_norms


def _biases_and_layer_norms(network: Any) -> set[str]:
    names = {name for name, _ in network.named_parameters()}
    return _layer_norms(network) | {n for n in names if n.endswith("bias") or n.startswith("backbone.body.norms.")}


NO_DECAY: dict[str, Callable[[Any], set[str]]] = {
    "norms_and_biases": _norms_and_biases,
    "backbone_norms_and_biases": _backbone_norms_and_biases,
    "layer_norms": _layer_norms,
    "biases_and_layer_norms": _biases_and_layer_norms,
}
"""Rules that name the parameters without weight decay: in all, the position embedding, group tokens, and

code: the rules differ because the authors' configurations match parameters by parts of their names.

- `norms_and_biases`, classification: norms and biases, but those of depthwise convolutions.
- `backbone_norms_and_biases`, SegFormer: the same of the backbone alone. The whole head decays.
- `layer_norms`, UPerNet: all layer norms but the backbone's last. That one, batch norms and all biases decay.
- `biases_and_layer_norms`, detection: biases, layer norms, the embeddings of levels, and of the batch norms those alone
  that end the adapter, for only these are called norms by the authors. Gates of injectors decay.
"""
