import pytest

import gpvit
from gpvit.models.variants import VARIANTS
from gpvit.zoo.catalog import MODELS, find, find_weights


def test_every_variant_is_in_the_catalog():
    assert {name for name, entry in MODELS.items() if entry.task == "classification"} == VARIANTS.keys()
    for name, entry in MODELS.items():
        assert entry.origin == ("ours" if name.endswith(("nano", "tiny")) else "paper")
        assert any(not weights.shipped for weights in entry.weights.values()) == (entry.origin == "paper")


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("gpvit_l5", "gpvit_l4"), ("gpvit-l1", "gpvit_l1"), ("gpvit_nanno", "gpvit_nano"), ("GPViT_L2", "gpvit_l2")],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, nearest):
    with pytest.raises(ValueError, match=f"unknown model '{wrong}'; did you mean .*{nearest}"):
        find(wrong)
    with pytest.raises(ValueError, match=f"unknown model '{wrong}'"):
        gpvit.create_model(wrong)


def test_a_name_like_none_is_answered_with_all():
    with pytest.raises(ValueError, match=r"unknown model 'xyz'; there are gpvit_nano, gpvit_tiny, gpvit_l1"):
        find("xyz")


def test_tags():
    assert find_weights("gpvit_l3")[1].filename == "gpvit_l3_in1k_300e.pth"
    with pytest.raises(ValueError, match=r"gpvit_l1 has no weights 'in22k' and no such file; there are gpvit_l1\.in1k"):
        gpvit.create_model("gpvit_l1", weights="in22k")
    with pytest.raises(ValueError, match=r"gpvit_nano has no weights 'in1k' .*; there are gpvit_nano\.digits"):
        gpvit.create_model("gpvit_nano.in1k")
    with pytest.raises(ValueError, match=r"both gpvit_l1\.in1k and weights='in1k' name weights; choose one"):
        gpvit.create_model("gpvit_l1.in1k", weights="in1k")


def test_published_scores():
    scores = [MODELS[f"gpvit_l{level}"].weights["in1k"].metrics["top1"] for level in (1, 2, 3, 4)]
    assert scores == [80.5, 83.4, 84.1, 84.3]
    mious = {
        decoder: [MODELS[f"{decoder}_gpvit_l{level}"].weights["ade20k"].metrics["miou"] for level in (1, 2, 3, 4)]
        for decoder in ("upernet", "segformer")
    }
    assert mious == {"upernet": [49.1, 50.2, 51.7, 52.5], "segformer": [46.9, 49.2, 50.8, 51.3]}


def test_a_system_on_any_timm_backbone_is_known():
    assert find("upernet_resnet18").task == "segmentation"
    assert find("retinanet_vit_small_patch16_224").task == "detection"
    with pytest.raises(ValueError, match="unknown model 'upernet_resnet0'"):
        find("upernet_resnet0")
