import pytest
import timm
import torch

import gpvit
from gpvit.layers.segmentation_heads import FCNHead, SegFormerHead, UPerNetHead
from gpvit.models.segmenter import Segmenter

NAMES = ("upernet_gpvit_nano", "segformer_gpvit_nano")


def randomised(name: str, **kwargs) -> Segmenter:
    """Build a model whose answers depend on every part: the classifier's initial weights would drown them."""
    torch.manual_seed(0)
    model = gpvit.create_model(name, **kwargs)
    torch.nn.init.normal_(model.decoder.classifier.weight)
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 104), (40, 200)])
def test_logits_have_the_images_size(name, size):
    model = randomised(name, num_classes=5, in_chans=1)
    with torch.inference_mode():
        images = torch.randn(2, 1, *size)
        logits, auxiliary = model.forward_with_auxiliary(images)
        assert logits.shape == (2, 5, *size)
        assert torch.equal(model(images), logits)
        assert model.forward_low(images).shape == (2, 5, -(-size[0] // 8), -(-size[1] // 8))
    assert (auxiliary is not None) == name.startswith("upernet")


@pytest.mark.parametrize("head", [UPerNetHead, SegFormerHead])
@pytest.mark.parametrize("sizes", [[(8, 8)] * 4, [(16, 12), (8, 6), (4, 3), (2, 2)], [(4, 4), (9, 7)], [(5, 6)]])
def test_heads_take_features_of_any_strides(head, sizes):
    chans = [3 + i for i in range(len(sizes))]
    features = [torch.randn(2, c, *size, requires_grad=True) for c, size in zip(chans, sizes, strict=True)]
    logits = head(chans, num_classes=7, channels=16)(features)
    assert logits.shape == (2, 7, *sizes[0])
    logits.square().sum().backward()
    assert all(feature.grad.abs().sum() > 0 for feature in features)


def test_auxiliary_head_classifies_its_feature():
    assert FCNHead(6, 3, channels=8)(torch.randn(2, 6, 5, 4)).shape == (2, 3, 5, 4)


@pytest.mark.parametrize("decoder", ["upernet", "segformer"])
@pytest.mark.parametrize(
    ("backbone", "options"),
    [("resnet18", {}), ("swin_tiny_patch4_window7_224", {"img_size": 64}), ("vit_tiny_patch16_224", {"img_size": 64})],
    ids=["cnn", "channels_last", "plain_vit"],
)
def test_any_timm_backbone_serves(decoder, backbone, options):
    model = gpvit.create_model(
        f"{decoder}_{backbone}", num_classes=4, backbone_kwargs=options, decoder_kwargs={"channels": 8}
    )
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 4, 64, 64)
    assert (
        model.stride == timm.create_model(backbone, features_only=True, out_indices=(-4,)).feature_info.reduction()[0]
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    model = gpvit.create_model(name, num_classes=5).train()
    logits, auxiliary = model.forward_with_auxiliary(torch.randn(2, 3, 64, 64))
    (logits.square().mean() + (0 if auxiliary is None else auxiliary.square().mean())).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_no_gradient(name):
    images = torch.randn(2, 3, 64, 64)
    gradients = []
    for enable in (False, True):
        model = randomised(name, num_classes=5)
        model.set_grad_checkpointing(enable)
        model(images).square().sum().backward()
        gradients.append(model.backbone.model.pos_embed.grad)
    torch.testing.assert_close(*gradients)


def test_parameters_without_decay_are_the_backbones():
    model = gpvit.create_model("segformer_gpvit_nano")
    names = {name for name, _ in model.named_parameters()}
    assert model.no_weight_decay() <= names
    assert "backbone.model.pos_embed" in model.no_weight_decay()
    assert gpvit.create_model("segformer_resnet18").no_weight_decay() == set()


def test_a_file_rebuilds_the_model(tmp_path):
    model = randomised("upernet_gpvit_nano", num_classes=5, in_chans=1, backbone_kwargs={"img_size": 64})
    model.pretrained_cfg |= {"mean": (0.5,), "std": (0.2,), "max_size": None, "label_colors": [[0, 0, 0]] * 5}
    gpvit.save(model, tmp_path / "model.safetensors", class_names=list("abcde"))
    loaded = gpvit.load(tmp_path / "model.safetensors")
    images = torch.randn(1, 1, 48, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    assert loaded.pretrained_cfg["label_names"] == list("abcde")
    assert loaded.pretrained_cfg["label_colors"] == [[0, 0, 0]] * 5


@pytest.mark.parametrize("classes", [5, 7])
def test_a_new_classifier_is_asked_for(tmp_path, classes, capsys):
    path = tmp_path / "model.safetensors"
    gpvit.save(gpvit.create_model("upernet_gpvit_nano", num_classes=5), path)
    if classes == 5:
        gpvit.create_model("upernet_gpvit_nano", path)
        return
    with pytest.raises(ValueError, match=r"size mismatch: decoder.classifier.weight(.|\n)*new_head=True"):
        gpvit.create_model("upernet_gpvit_nano", path, num_classes=classes)
    model = gpvit.create_model("upernet_gpvit_nano", path, num_classes=classes, new_head=True)
    assert model.num_classes == classes
    assert "auxiliary.classifier.bias (5,) left out" in capsys.readouterr().err


def test_a_wrong_option_or_decoder_is_told():
    with pytest.raises(ValueError, match="no option 'drop_path'; did you mean drop_path_rate"):
        gpvit.create_model("upernet_gpvit_nano", drop_path=0.1)
    with pytest.raises(ValueError, match="unknown decoder 'fcn'; choose one of upernet, segformer"):
        Segmenter("gpvit_nano", "fcn")
    with pytest.raises(ValueError, match="did you mean upernet_gpvit_l1"):
        gpvit.create_model("upernet_gpvitl1")
