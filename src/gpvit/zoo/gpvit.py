"""Makes timm know GPViT; imported when timm is. timm takes the name of this module for that of the family.

timm may be imported halfway through one of our own modules, so the network itself is imported only when it is built.
"""

import inspect
import json
from typing import Any

from safetensors import safe_open
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from gpvit.zoo.catalog import MODELS, RELEASE, SHIPPED
from gpvit.zoo.entry_points import add_entry_point, names_weights

__all__: list[str] = []  # timm adds each entry point

_CLASSIFIERS = [name for name, entry in MODELS.items() if entry.task == "classification"]


def _gpvit(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a GPViT; keyword arguments are those of gpvit.GPViT and of timm.create_model."""
    from gpvit.models.backbone import GPViT
    from gpvit.models.variants import VARIANTS, layout
    from gpvit.zoo.hub import published_weights

    overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
    config = kwargs.get("pretrained_cfg")
    if pretrained and not names_weights(overlay) and not names_weights(config):
        tag = config if isinstance(config, str) else getattr(config, "tag", None)
        overlay["file"] = str(published_weights(name, tag))
    arguments = {**VARIANTS[name], **kwargs}
    num_blocks = len(arguments.get("blocks", layout()))
    out_indices = arguments.pop("out_indices", tuple(range(num_blocks))[2::3] or (-1,))
    feature_cfg = {"out_indices": out_indices, "feature_cls": "getter"}
    if arguments.get("feature_norms"):  # features that got norms of their own are meant to be normalised
        feature_cfg["norm"] = True
    model = build_model_with_cfg(
        GPViT,
        name,
        pretrained,
        pretrained_cfg_overlay=overlay,
        pretrained_filter_fn=_checkpoint_filter,
        feature_cfg=feature_cfg,
        **arguments,
    )
    if isinstance(model, GPViT):
        own = inspect.signature(GPViT).parameters
        model.gpvit_config = {"name": name, "kwargs": {k: v for k, v in kwargs.items() if k in own}}
    return model


def _checkpoint_filter(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Let timm load official files and files of ours, made for any image size."""
    from gpvit.zoo.files import adapt_pos_embed, with_our_names

    return adapt_pos_embed(with_our_names(state_dict), model)


def _facts(filename: str) -> dict[str, Any]:
    """Read what a shipped file says of its model and images, as timm puts it; no tensor of it is read."""
    with safe_open(SHIPPED / filename, framework="pt") as file:
        facts = json.loads(file.metadata()["gpvit"])
    inputs = {key: facts["inputs"][key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    return {**inputs, "fixed_input_size": True, "num_classes": facts["kwargs"]["num_classes"]}


def _pretrained_cfgs() -> dict[str, Any]:
    common = {
        "pool_size": (28, 28),
        "first_conv": "stem.first.conv",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2212.06795",
        "origin_url": "https://github.com/ChenhongyiYang/GPViT",
    }
    cfgs: dict[str, Any] = {}
    for name in _CLASSIFIERS:
        cfgs |= {} if MODELS[name].origin == "paper" else {name: common}
        for tag, weights in MODELS[name].weights.items():
            own = _facts(weights.filename) if weights.shipped else {"url": f"{RELEASE}/{weights.filename}"}
            cfgs[f"{name}.{tag}"] = {**common, **own}
    return cfgs


default_cfgs = generate_default_cfgs(_pretrained_cfgs())
for _name in _CLASSIFIERS:
    add_entry_point(__name__, _name, _gpvit)
