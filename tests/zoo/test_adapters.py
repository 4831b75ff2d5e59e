"""Plain transformers under a ViT-Adapter, by names that timm knows."""

import pytest
import timm
import torch

import gpvit


@pytest.mark.parametrize("backbone", ["gpvit_nano", "vit_tiny_patch16_224"])
def test_a_name_gives_a_pyramid_and_a_classifier(backbone):
    name = gpvit.register_adapter(backbone)
    assert name == f"{backbone}_adapter"
    x = torch.rand(2, 1, 75, 130)
    features = timm.create_model(name, features_only=True, in_chans=1)
    assert features.feature_info.reduction() == [4, 8, 16, 32]
    maps = features(x)
    assert [tuple(m.shape[2:]) for m in maps] == [(19, 33), (10, 17), (5, 9), (3, 5)]
    assert [m.shape[1] for m in maps] == features.feature_info.channels()
    two = timm.create_model(name, features_only=True, in_chans=1, out_indices=(1, -1), output_stride=16)(x)
    assert [tuple(m.shape[2:]) for m in two] == [(10, 17), (5, 9)]
    model = timm.create_model(name, num_classes=3, in_chans=1, adapter_kwargs={"num_points": 2})
    assert model(x).shape == (2, 3)
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features)


def test_wrong_strides_are_refused():
    with pytest.raises(ValueError, match="output_stride must be 8, 16 or 32; got 4"):
        timm.create_model("gpvit_nano_adapter", output_stride=4)


def test_weights_of_the_whole_are_loaded(tmp_path):
    model = timm.create_model("gpvit_nano_adapter", num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    given = {"file": str(tmp_path / "mine.pth"), "num_classes": 3}
    again = timm.create_model("gpvit_nano_adapter", True, pretrained_cfg_overlay=given, num_classes=3).eval()
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(again(x), model(x))
