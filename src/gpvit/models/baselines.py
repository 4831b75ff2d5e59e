"""Plain vision transformers of GPViT's widths and depth, which the paper measures it against (Table 10).

`vit_d216_p16` has 216 channels and patches of 16 pixels; timm creates it by that name.
"""

from collections.abc import Callable
from typing import Any

from timm.models import VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

__all__: list[str] = []  # timm adds each entry point

# The paper gives width and depth alone; the heads are those of GPViT's group propagation blocks, twice for the widest.
HEADS = {216: 6, 348: 6, 432: 6, 624: 12}
PATCHES = (16, 8)
DEPTH = 12
BASELINES = tuple(f"vit_d{dim}_p{patch}" for dim in HEADS for patch in PATCHES)


def _entry_point(dim: int, patch: int) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        size = {"embed_dim": dim, "patch_size": patch, "depth": DEPTH, "num_heads": HEADS[dim]}
        arguments = {**size, "dynamic_img_size": True, "dynamic_img_pad": True, **kwargs}
        indices = arguments.pop("out_indices", tuple(range(DEPTH))[2::3])
        feature_cfg = {"out_indices": indices, "feature_cls": "getter"}
        model: nn.Module = build_model_with_cfg(
            VisionTransformer, name, pretrained, feature_cfg=feature_cfg, **arguments
        )
        return model

    name = f"vit_d{dim}_p{patch}"
    create.__name__ = create.__qualname__ = name
    create.__module__ = __name__
    create.__doc__ = f"Build a ViT of {dim} channels and patches of {patch} pixels; it has no published weights."
    return create


default_cfgs = generate_default_cfgs(
    {name: {"first_conv": "patch_embed.proj", "classifier": "head"} for name in BASELINES}
)
for _dim in HEADS:
    for _patch in PATCHES:
        globals()[f"vit_d{_dim}_p{_patch}"] = register_model(_entry_point(_dim, _patch))
