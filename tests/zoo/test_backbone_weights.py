import pytest
import torch
from golden import official

import gpvit


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    torch.manual_seed(0)
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=7), path)
    return path


def test_a_classifiers_backbone_is_loaded_and_reported(classifier, capsys):
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=3, backbone_weights=classifier)
    expected = gpvit.load(classifier).state_dict()
    own = model.backbone.model.state_dict()
    assert {n for n in own if n not in expected} == {
        f"feature_norms.{i}.{p}" for i in (2, 5, 8) for p in ("weight", "bias")
    }
    assert all(torch.equal(own[n], expected[n]) for n in own if n in expected)
    report = capsys.readouterr().err
    assert "new: feature_norms.2, feature_norms.5, feature_norms.8; left out: head, pool, pool.key, pool.norm" in report


def test_image_channels_and_grid_are_converted(classifier):
    model = gpvit.create_model(
        "upernet_gpvit_nano", in_chans=1, backbone_kwargs={"img_size": 64}, backbone_weights=classifier
    )
    assert model.backbone.model.pos_embed.shape[1:3] == (8, 8)
    expected = gpvit.load(classifier).stem.first.conv.weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.backbone.model.stem.first.conv.weight, expected)


def test_a_segmenters_file_gives_its_backbone(tmp_path, capsys):
    given = gpvit.create_model("upernet_gpvit_nano")
    gpvit.save(given, tmp_path / "model.safetensors")
    model = gpvit.create_model("segformer_gpvit_nano", backbone_weights=tmp_path / "model.safetensors")
    for own, theirs in zip(model.backbone.parameters(), given.backbone.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert "new" not in capsys.readouterr().err


def test_official_classification_weights_fit(tmp_path):
    path = official.checkpoint("cls_L1", tmp_path / "gpvit_l1_in1k_300e.pth")
    model = gpvit.create_model("segformer_gpvit_l1", backbone_weights=path)
    expected = official.state_dict("cls_L1")["backbone.ln1.weight"]
    assert torch.equal(model.backbone.model.norm.weight, expected)


def test_what_does_not_fit_is_an_error(classifier, tmp_path):
    with pytest.raises(ValueError, match="size mismatch"):
        gpvit.create_model("segformer_gpvit_tiny", backbone_weights=classifier)
    with pytest.raises(ValueError, match="gpvit_nano is a backbone itself"):
        gpvit.create_model("gpvit_nano", backbone_weights=classifier)
    with pytest.raises(ValueError, match="leave out one of the two"):
        gpvit.create_model("upernet_gpvit_nano", classifier, backbone_weights=classifier)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        gpvit.create_model("upernet_gpvit_nano", backbone_weights=tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="give a tag of timm's pretrained weights"):
        gpvit.create_model("upernet_resnet18", backbone_weights=classifier)


@pytest.mark.parametrize("system", ["mask_rcnn", "retinanet"])
def test_a_detectors_adapter_stays_new(classifier, system, capsys):
    model = gpvit.create_model(f"{system}_gpvit_nano", num_classes=3, backbone_weights=classifier)
    expected = gpvit.load(classifier).state_dict()
    own = model.backbone.body.backbone.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in own.items())
    assert "left out: head, norm, pool, pool.key, pool.norm" in capsys.readouterr().err


def test_a_detectors_file_rebuilds_it(tmp_path):
    model = gpvit.create_model("mask_rcnn_gpvit_nano", num_classes=3, min_size=64, channels=16).eval()
    model.pretrained_cfg |= {"category_ids": [7, 3, 9]}
    gpvit.save(model, tmp_path / "model.safetensors", class_names=list("abc"))
    loaded = gpvit.load(tmp_path / "model.safetensors")
    assert loaded.pretrained_cfg["category_ids"] == [7, 3, 9]
    image = torch.rand(3, 64, 80)
    with torch.inference_mode():
        for own, theirs in zip(model([image])[0].values(), loaded([image])[0].values(), strict=True):
            assert torch.equal(own, theirs)
