"""Makes timm know the plain ViTs that the paper measures GPViT against; imported when timm is."""

from typing import Any

from timm.models import VisionTransformer, build_model_with_cfg, generate_default_cfgs
from torch import nn

from gpvit.zoo.entry_points import add_entry_point

__all__: list[str] = []  # timm adds each entry point

# Table 10 gives width and depth alone; the heads are those of GPViT's group propagation blocks, twice for the widest.
HEADS = {216: 6, 348: 6, 432: 6, 624: 12}
PATCHES = (16, 8)
DEPTH = 12
BASELINES = {f"vit_d{dim}_p{patch}": (dim, patch) for dim in HEADS for patch in PATCHES}
"""Plain vision transformers of GPViT's widths and depth: ``vit_d216_p16`` has 216 channels and patches of 16 pixels."""


def _plain_vit(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a plain ViT; it has no published weights."""
    dim, patch = BASELINES[name]
    size = {"embed_dim": dim, "patch_size": patch, "depth": DEPTH, "num_heads": HEADS[dim]}
    arguments = {**size, "dynamic_img_size": True, "dynamic_img_pad": True, **kwargs}
    feature_cfg = {"out_indices": arguments.pop("out_indices", tuple(range(DEPTH))[2::3]), "feature_cls": "getter"}
    return build_model_with_cfg(VisionTransformer, name, pretrained, feature_cfg=feature_cfg, **arguments)


default_cfgs = generate_default_cfgs(
    {name: {"first_conv": "patch_embed.proj", "classifier": "head"} for name in BASELINES}
)
for _name in BASELINES:
    add_entry_point(__name__, _name, _plain_vit)
