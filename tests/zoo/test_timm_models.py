import pytest
import timm
import torch

import gpvit  # noqa: F401  timm learns the models
from gpvit.zoo.timm_models import BASELINES, DEPTH, HEADS, PATCHES


@pytest.mark.parametrize("name", BASELINES)
def test_depth_width_and_patches_are_those_of_the_name(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=10)
    width, patch = (int(part[1:]) for part in name.split("_")[1:])
    assert (model.embed_dim, model.patch_embed.patch_size, len(model.blocks)) == (width, (patch, patch), DEPTH)
    # Embedding, 12 C^2 and 13 C a block, final norm and classifier; positions of 224 x 224 pixels and a class token.
    tokens = (224 // patch) ** 2 + 1
    expected = (3 * patch**2 + 1) * width + DEPTH * (12 * width**2 + 13 * width) + 2 * width + 10 * (width + 1)
    assert sum(p.numel() for p in model.parameters()) == expected + (tokens + 1) * width
    assert width in HEADS
    assert patch in PATCHES


def test_any_size_and_features():
    model = timm.create_model("vit_d216_p16", features_only=True).eval()
    assert [tuple(f.shape) for f in model(torch.rand(1, 3, 50, 70))] == [(1, 216, 4, 5)] * 4
    assert timm.create_model("vit_d216_p8", num_classes=3)(torch.rand(2, 3, 40, 64)).shape == (2, 3)
