"""Which parameters learn at which rate, and which of them decay."""

from typing import Any

from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import AdamW


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
    spared: set[str] = model.no_weight_decay()  # type: ignore[operator]
    return spared | (vectors - depthwise_biases)


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


def adamw(
    model: nn.Module,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.05,
    layer_decay: float | None = None,
) -> AdamW:
    """Create AdamW over the groups of `parameter_groups`."""
    return AdamW(parameter_groups(model, lr, weight_decay, layer_decay), lr=lr, betas=betas)
