"""Makes timm know GPViT; imported when timm is, before or after this package.

timm may be imported halfway through one of our own modules, so the network itself is imported only when it is built.
"""

from collections.abc import Callable
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from gpvit.zoo.catalog import MODELS
from gpvit.zoo.official import RELEASE, convert_official, is_official

__all__: list[str] = []  # timm adds each entry point


def _checkpoint_filter(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Let timm load official files and files of ours, made for any image size."""
    from gpvit.zoo.files import adapt_pos_embed

    return adapt_pos_embed(convert_official(state_dict) if is_official(state_dict) else state_dict, model)


def _pretrained_cfgs() -> dict[str, Any]:
    common = {
        "first_conv": "stem.first.conv",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2212.06795",
        "origin_url": "https://github.com/ChenhongyiYang/GPViT",
    }
    cfgs: dict[str, Any] = {}
    for name, entry in MODELS.items():
        if entry.task == "classification":
            cfgs |= {f"{name}.{tag}": {**common, "url": f"{RELEASE}/{w.filename}"} for tag, w in entry.weights.items()}
            cfgs |= {} if entry.weights else {name: common}
    return cfgs


def _entry_point(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        from gpvit.models.backbone import GPViT
        from gpvit.models.variants import VARIANTS, layout
        from gpvit.zoo.hub import published_weights

        overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
        if pretrained and not overlay.keys() & {"file", "state_dict", "url", "hf_hub_id"}:
            overlay["file"] = str(published_weights(name, _tag(kwargs.get("pretrained_cfg"))))
        arguments = {**VARIANTS[name], **kwargs}
        num_blocks = len(arguments.get("blocks", layout()))
        out_indices = arguments.pop("out_indices", tuple(range(num_blocks))[2::3] or (-1,))
        model = build_model_with_cfg(
            GPViT,
            name,
            pretrained,
            pretrained_cfg_overlay=overlay,
            pretrained_filter_fn=_checkpoint_filter,
            # features that got norms of their own are meant to be normalised
            feature_cfg={
                "out_indices": out_indices,
                "feature_cls": "getter",
                "norm": bool(arguments.get("feature_norms")),
            },
            **arguments,
        )
        if isinstance(model, GPViT):
            own = {k: v for k, v in kwargs.items() if k not in ("pretrained_cfg", "cache_dir", "features_only")}
            model.gpvit_config = {"name": name, "kwargs": own}
        return model

    create.__name__ = create.__qualname__ = name
    create.__module__ = __name__
    create.__doc__ = f"Build {name}; keyword arguments are those of gpvit.GPViT and of timm.create_model."
    return create


def _tag(pretrained_cfg: Any) -> str | None:
    """Return the tag of ``name.tag``, as timm hands it on, or None for the default."""
    return pretrained_cfg if isinstance(pretrained_cfg, str) else getattr(pretrained_cfg, "tag", None)


default_cfgs = generate_default_cfgs(_pretrained_cfgs())
for _name in MODELS:
    globals()[_name] = register_model(_entry_point(_name))
