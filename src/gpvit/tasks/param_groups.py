"""Which parameters learn at which rate, and which of them decay. Frozen ones are in no group."""

from collections.abc import Callable
from typing import Any

from torch import nn

from gpvit.tasks.layer_ids import find_transformer, layer_numbers

_REST_LR_SCALE = 0.3  # of AdamW's rate beside Muon's


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
    """Sort a network's parameters into groups of one learning rate and one weight decay.

    Args:
        network: A classifier, a segmenter or a detector, with timm's `no_weight_decay`, and `head_names`.
        lr: Peak learning rate.
        weight_decay: Weight decay of what decays.
        no_decay: Rule of `NO_DECAY` for what does not.
        head_lr_scale: Factor of the learning rate outside the backbone.
        layer_decay: Factor of the learning rate from each layer of the transformer to the one below it, the last one's
            factor included where a segmenter or a detector stands on it (as in ViTDet); None for one rate.
        muon: Mark what is no matrix, the classifier, embeddings and tokens for AdamW beside timm's Muon.

    Raises:
        UserError: If the layers of the backbone cannot be counted.
    """
    spared = NO_DECAY[no_decay](network)
    layer_scale = _layer_scales(network, layer_decay)
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


def _layer_scales(network: nn.Module, layer_decay: float | None) -> dict[str, float]:
    """Compute the factor of each of the transformer's parameters, by name."""
    if layer_decay is None:
        return {}
    layers = layer_numbers(network, f"layer_decay: {layer_decay}")
    is_whole = find_transformer(network)[1] is network  # a classifier, whose head is the last of the layers
    top = max(layers.values()) + (not is_whole)
    return {name: layer_decay ** (top - layer) for name, layer in layers.items()}


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
