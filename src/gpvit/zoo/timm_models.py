"""Makes timm know GPViT, and the plain ViTs that the paper measures it against; imported when timm is.

timm may be imported halfway through one of our own modules, so the network itself is imported only when it is built.
"""

import inspect
from collections.abc import Callable
from typing import Any

from timm.models import VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from gpvit.zoo.catalog import MODELS, RELEASE

__all__: list[str] = []  # timm adds each entry point

# Table 10 gives width and depth alone; the heads are those of GPViT's group propagation blocks, twice for the widest.
HEADS = {216: 6, 348: 6, 432: 6, 624: 12}
PATCHES = (16, 8)
DEPTH = 12
BASELINES = {f"vit_d{dim}_p{patch}": (dim, patch) for dim in HEADS for patch in PATCHES}
"""Plain vision transformers of GPViT's widths and depth: ``vit_d216_p16`` has 216 channels and patches of 16 pixels."""

_CLASSIFIERS = [name for name, entry in MODELS.items() if entry.task == "classification"]
_SOURCES = ("url", "file", "state_dict", "hf_hub_id")


def _gpvit(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a GPViT; keyword arguments are those of gpvit.GPViT and of timm.create_model."""
    from gpvit.models.backbone import GPViT
    from gpvit.models.variants import VARIANTS, layout
    from gpvit.zoo.hub import published_weights

    overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
    config = kwargs.get("pretrained_cfg")
    if pretrained and not _names_weights(overlay) and not _names_weights(config):
        tag = config if isinstance(config, str) else getattr(config, "tag", None)
        overlay["file"] = str(published_weights(name, tag))
    arguments = {**VARIANTS[name], **kwargs}
    num_blocks = len(arguments.get("blocks", layout()))
    out_indices = arguments.pop("out_indices", tuple(range(num_blocks))[2::3] or (-1,))
    # Features that got norms of their own are meant to be normalised.
    feature_cfg = {"out_indices": out_indices, "feature_cls": "getter", "norm": bool(arguments.get("feature_norms"))}
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


def _names_weights(config: Any) -> bool:
    """Tell whether a configuration, as timm hands it on, names other weights than those published for a model."""
    given = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    return any(given.get(key) and not str(given[key]).startswith(RELEASE) for key in _SOURCES)


def _checkpoint_filter(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Let timm load official files and files of ours, made for any image size."""
    from gpvit.zoo.files import adapt_pos_embed
    from gpvit.zoo.official import convert_official, is_official

    return adapt_pos_embed(convert_official(state_dict) if is_official(state_dict) else state_dict, model)


def _plain_vit(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a plain ViT; it has no published weights."""
    dim, patch = BASELINES[name]
    size = {"embed_dim": dim, "patch_size": patch, "depth": DEPTH, "num_heads": HEADS[dim]}
    arguments = {**size, "dynamic_img_size": True, "dynamic_img_pad": True, **kwargs}
    feature_cfg = {"out_indices": arguments.pop("out_indices", tuple(range(DEPTH))[2::3]), "feature_cls": "getter"}
    return build_model_with_cfg(VisionTransformer, name, pretrained, feature_cfg=feature_cfg, **arguments)


def _pretrained_cfgs() -> dict[str, Any]:
    common = {
        "first_conv": "stem.first.conv",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2212.06795",
        "origin_url": "https://github.com/ChenhongyiYang/GPViT",
    }
    cfgs: dict[str, Any] = {name: {"first_conv": "patch_embed.proj", "classifier": "head"} for name in BASELINES}
    for name in _CLASSIFIERS:
        published = MODELS[name].weights.items()
        cfgs |= {f"{name}.{tag}": {**common, "url": f"{RELEASE}/{weights.filename}"} for tag, weights in published}
        cfgs |= {} if published else {name: common}
    return cfgs


def _register(name: str, create: Callable[..., nn.Module]) -> None:
    """Give timm a function of the model's name, which its registry goes by."""

    def entry_point(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return create(name, pretrained, **kwargs)

    entry_point.__name__ = entry_point.__qualname__ = name
    entry_point.__module__ = __name__
    entry_point.__doc__ = create.__doc__
    globals()[name] = register_model(entry_point)


default_cfgs = generate_default_cfgs(_pretrained_cfgs())
for _name in (*_CLASSIFIERS, *BASELINES):
    _register(_name, _plain_vit if _name in BASELINES else _gpvit)
