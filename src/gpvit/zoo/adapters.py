"""Makes timm know plain transformers under a ViT-Adapter, ``gpvit_l1_adapter``; imported when timm is.

With ``features_only`` they give maps at strides 4, 8, 16 and 32, which all decoders and detectors on timm's names take.
"""

from functools import partial
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs
from torch import nn

from gpvit.zoo.catalog import MODELS
from gpvit.zoo.entry_points import add_entry_point, names_weights

__all__: list[str] = []  # timm adds each entry point
default_cfgs: dict[str, Any] = {}


def register_adapter(backbone: str) -> str:
    """Make timm know a plain transformer under a ViT-Adapter, as it knows ``gpvit_l1_adapter``.

    ``timm.create_model`` then takes the name with the arguments of the backbone and of
    :class:`gpvit.models.adapter_net.AdapterNet`, those of :class:`gpvit.ViTAdapter` as ``adapter_kwargs``.
    ``pretrained=True`` brings the backbone's published weights; the adapter is to be trained.

    Args:
        backbone: Name of a transformer of timm that :class:`gpvit.ViTAdapter` takes.

    Returns:
        The new name, ``f"{backbone}_adapter"``.

    Example:
        >>> name = register_adapter("vit_small_patch16_224")
        >>> timm.create_model(name, features_only=True).feature_info.reduction()
        [4, 8, 16, 32]
    """
    name = f"{backbone}_adapter"
    if timm.is_model(name):
        return name
    own = timm.get_pretrained_cfg(backbone)
    kept = ("input_size", "mean", "std", "interpolation", "crop_pct", "license")
    config = {key: getattr(own, key) for key in kept if own is not None}
    first = getattr(own, "first_conv", None) or "patch_embed.proj"
    config |= {"first_conv": [f"backbone.{first}", "spatial_prior.stem.0.conv"], "classifier": "head"}
    side = config.get("input_size", (3, 224, 224))[-1]
    default_cfgs.update(generate_default_cfgs({name: {**config, "pool_size": (-(-side // 32),) * 2}}))

    def create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        """Build a plain transformer under a ViT-Adapter, with a classifier or as features at strides 4 to 32."""
        loads_all = any(names_weights(kwargs.get(each)) for each in ("pretrained_cfg", "pretrained_cfg_overlay"))
        build = partial(_build, backbone, pretrained and not loads_all)
        feature_cfg = {"out_indices": (0, 1, 2, 3), "feature_cls": "getter"}
        return build_model_with_cfg(build, name, pretrained and loads_all, feature_cfg=feature_cfg, **kwargs)

    add_entry_point(__name__, name, create)
    return name


def _build(
    backbone: str,
    pretrained: bool,
    num_classes: int = 1000,
    global_pool: str = "avg",
    output_stride: int = 32,
    drop_rate: float = 0.0,
    adapter_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    from gpvit.models.adapter_net import AdapterNet

    network = timm.create_model(backbone, pretrained, num_classes=0, **options)
    return AdapterNet(network, num_classes, global_pool, output_stride, drop_rate, **(adapter_kwargs or {}))


for _name, _entry in MODELS.items():
    if _entry.task == "classification":
        register_adapter(_name)
