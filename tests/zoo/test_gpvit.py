"""What timm does with our models' names, beside the contract that every model keeps."""

import pytest
import timm
import torch
from timm.models import save_for_hf

import gpvit  # noqa: F401  timm learns the models
from gpvit.zoo.plain_vits import BASELINES, DEPTH, HEADS, PATCHES


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


@pytest.mark.parametrize("name", ["gpvit_nano", "gpvit_l1"])
def test_weights_that_timm_is_told_of_are_loaded_and_nothing_is_fetched(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GPVIT_WEIGHTS_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("GPVIT_CACHE", str(tmp_path / "cache"))
    x = torch.rand(1, 3, 64, 64)
    mine = timm.create_model(name, num_classes=3).eval()
    torch.save(mine.state_dict(), tmp_path / "mine.pth")
    save_for_hf(mine, tmp_path / "hub")
    config = {"num_classes": 3, "classifier": "head", "first_conv": "stem.first.conv"}
    file, folder = str(tmp_path / "mine.pth"), str(tmp_path / "hub")
    for given in (
        {"pretrained_cfg": {**config, "file": file}},
        {"pretrained_cfg": {**config, "state_dict": mine.state_dict()}},
        {"pretrained_cfg": {**config, "file": folder, "source": "local-dir"}},
        {"pretrained_cfg_overlay": {**config, "file": file}},
        {"pretrained_cfg_overlay": {**config, "file": folder, "source": "local-dir"}},
    ):
        named = timm.create_model(name, pretrained=True, num_classes=3, **given).eval()
        assert torch.equal(named(x), mine(x))
    published = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(published(x), mine(x))
    assert published.gpvit_config["name"] == name
    with pytest.raises(RuntimeError, match="not a directory"):  # as timm says it
        timm.create_model(name, pretrained=True, pretrained_cfg={"file": file, "source": "local-dir"})
