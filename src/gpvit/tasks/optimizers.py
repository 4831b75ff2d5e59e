"""Which parameters learn at which rate, and which of them decay. Frozen ones are in no group."""

from collections.abc import Callable
from typing import Any, Literal

from timm.optim import Muon, param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import AdamW, Optimizer

from gpvit.tasks.layer_ids import layer_numbers

OptimizerName = Literal["adamw", "muon"]
_REST_LR_SCALE = 0.3  # of AdamW's rate beside Muon's

NoDecay = Literal["layer_norms", "backbone_norms_and_biases"]
"""What weight decay spares in a model with a backbone and a head, beside the position embedding and group tokens.

code: the two differ because the authors' configurations match parameters by parts of their names.

`layer_norms` is how UPerNet was trained: all layer norms but the backbone's last do not decay. That one, batch norms and
all other biases decay. `backbone_norms_and_biases` is how SegFormer was trained: as in classification, but of the
backbone alone. The whole head decays, its norms and biases too.
"""


def no_decay_names(model: nn.Module) -> set[str]:
    """Name the parameters that weight decay spares: norms, biases and what the model itself names.

    code: the biases of depthwise convolutions (LePE's) do decay in the authors' training.
    """
    depthwise_biases = {
        f"{name}.bias"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    }
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim <= 1}
    no_decay: set[str] = model.no_weight_decay()  # type: ignore[operator]
    return no_decay | (vectors - depthwise_biases)


def parameter_groups(
    model: nn.Module, lr: float, weight_decay: float, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """Sort a model's parameters into groups of one learning rate and one weight decay.

    Args:
        model: A model with timm's `no_weight_decay` and `group_matcher`.
        lr: Peak learning rate of the last layer.
        weight_decay: Weight decay of what decays.
        layer_decay: Factor of the learning rate from each layer to the one below it; None for one rate.
    """
    # timm's own rule for one-dimensional parameters would spare the depthwise biases: the names say it all.
    rule: dict[str, Any] = {"no_weight_decay_list": no_decay_names(model), "weight_decay_exclude_1d": False}
    if layer_decay is None:
        groups = param_groups_weight_decay(model, weight_decay, **rule)
    else:
        groups = param_groups_layer_decay(model, weight_decay, layer_decay=layer_decay, **rule)
    # torch's schedulers know no lr_scale, only the rate that a group starts with.
    return [{**group, "lr": lr * group.pop("lr_scale", 1.0)} for group in groups]


def head_groups(
    model: nn.Module, lr: float, weight_decay: float, no_decay: NoDecay, head_lr_scale: float = 1.0
) -> list[dict[str, Any]]:
    """Sort the parameters of a model with a `backbone` into groups: backbone or head, decaying or not.

    Args:
        model: A model whose backbone's parameters start with `backbone.`; all others are the head's.
        lr: Peak learning rate of the backbone.
        weight_decay: Weight decay of what decays.
        no_decay: What does not decay, see `NoDecay`.
        head_lr_scale: Factor of the head's learning rate.
    """
    names = _SPARED[no_decay](model)
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head, is_spared = not name.startswith("backbone."), name in names
        group = {"lr": lr * (head_lr_scale if in_head else 1.0), "weight_decay": 0.0 if is_spared else weight_decay}
        groups.setdefault((in_head, is_spared), {"params": [], **group})["params"].append(parameter)
    return list(groups.values())


def detector_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Sort a detector's parameters into those that decay and those that do not decay.

    code: what does not decay are biases, layer norms, the embeddings of positions and levels, group tokens, and of the batch norms
    those alone that end the adapter, for only these are called norms by the authors. Gates of injectors decay.

    Args:
        model: A detector, whose adapter is `backbone.body`.
        weight_decay: Weight decay of what decays.
    """
    names = {name for name, _ in model.named_parameters()}
    no_decay = {name for name in names if name.endswith("bias") or name.startswith("backbone.body.norms.")}
    rule: dict[str, Any] = {
        "no_weight_decay_list": no_decay | _layer_norm_names(model),
        "weight_decay_exclude_1d": False,
    }
    groups: list[dict[str, Any]] = param_groups_weight_decay(model, weight_decay, **rule)
    return groups


def with_layer_decay(
    model: nn.Module, groups: list[dict[str, Any]], lr: float, layer_decay: float | None
) -> list[dict[str, Any]]:
    """Divide groups of a segmenter's or a detector's parameters so that each layer of its backbone learns more slowly.

    The last block learns at `layer_decay` of its group's rate, each block below it at `layer_decay` of that, and what
    is not the pretrained transformer at the group's own rate, as in ViTDet.

    Args:
        model: Whose parameters they are.
        groups: As `head_groups` or `detector_groups` gives them.
        lr: Rate of groups without one.
        layer_decay: The factor; None leaves the groups as they are.

    Raises:
        ValueError: If the layers of the backbone cannot be counted.
    """
    if layer_decay is None:
        return groups
    layers = layer_numbers(model, f"layer_decay: {layer_decay}")
    top = max(layers.values()) + 1
    layer_of = {id(p): layers.get(name, top) for name, p in model.named_parameters()}
    divided: list[dict[str, Any]] = []
    for group in groups:
        rate = group.get("lr", lr)
        by_layer: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_layer.setdefault(layer_of[id(parameter)], []).append(parameter)
        for layer, parameters in sorted(by_layer.items()):
            divided.append({**group, "params": parameters, "lr": rate * layer_decay ** (top - layer)})
    return divided


def adamw(
    model: nn.Module,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.05,
    layer_decay: float | None = None,
) -> AdamW:
    """Create AdamW over the groups of `parameter_groups`."""
    return AdamW(parameter_groups(model, lr, weight_decay, layer_decay), lr=lr, betas=betas)


def optimizer(
    kind: OptimizerName, model: nn.Module, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]
) -> Optimizer:
    """Create an optimiser over groups of a model's parameters.

    Args:
        kind: `adamw`, or `muon`, which moves weight matrices along orthogonalised momentum and needs about half the
            steps where training is short (Jordan et al. 2024; timm's implementation). There, what is no matrix, the
            classifier, embeddings and tokens are AdamW's, at 0.3 of the rate.
        model: Whose parameters they are; it says by `head_names` which are the classifier's.
        groups: Each with a learning rate and a weight decay.
        lr: Default learning rate.
        betas: Coefficients of the running averages.
    """
    if kind == "adamw":
        return AdamW(groups, lr=lr, betas=betas)
    heads: tuple[str, ...] = model.head_names  # type: ignore[assignment]
    matrices = {
        id(p)
        for name, p in model.named_parameters()
        if p.ndim > 1 and p.shape[0] > 1 and p.shape[1] > 1 and not name.startswith(heads)
    }
    divided: list[dict[str, Any]] = []
    for group in groups:
        own = {**group, "lr": group.get("lr", lr)}
        parts = [[p for p in group["params"] if (id(p) in matrices) == is_matrix] for is_matrix in (True, False)]
        divided.append({**own, "params": parts[0]})
        divided.append({**own, "params": parts[1], "lr": own["lr"] * _REST_LR_SCALE, "use_fallback": True})
    return Muon([group for group in divided if group["params"]], lr=lr, betas=betas, nesterov=True)


def _layer_norm_names(model: nn.Module) -> set[str]:
    own: set[str] = model.no_weight_decay()  # type: ignore[operator]
    layer_norms = {
        f"{name}.{leaf}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm) and name != "backbone.model.norm"
        for leaf, _ in module.named_parameters()
    }
    return own | layer_norms


def _backbone_norm_and_bias_names(model: nn.Module) -> set[str]:
    return {name for name in no_decay_names(model) if name.startswith("backbone.")}


_SPARED: dict[NoDecay, Callable[[nn.Module], set[str]]] = {
    "layer_norms": _layer_norm_names,
    "backbone_norms_and_biases": _backbone_norm_and_bias_names,
}
