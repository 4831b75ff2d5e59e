"""transformers: its wrappers of timm compute what timm does, and its systems learn on our backbones."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import gpvit

transformers = pytest.importorskip("transformers", reason="make test-tools installs it")


def test_the_wrapper_computes_what_timm_does(tmp_path):
    config = transformers.TimmWrapperConfig(architecture="gpvit_nano", num_labels=5)
    model = transformers.TimmWrapperForImageClassification(config).eval()
    x = torch.rand(2, 3, 64, 96)
    assert torch.equal(model(x).logits, model.timm_model(x))
    hidden = model(x, output_hidden_states=True).hidden_states
    assert len(hidden) == 12
    model.save_pretrained(tmp_path)
    again = transformers.TimmWrapperForImageClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(x).logits, model(x).logits)


def backbone(name: str, **kwargs) -> "transformers.TimmBackboneConfig":
    return transformers.TimmBackboneConfig(backbone=name, use_pretrained_backbone=False, **kwargs)


def test_upernet_learns_on_an_adapter():
    config = transformers.UperNetConfig(
        backbone_config=backbone("gpvit_nano_adapter", out_indices=[0, 1, 2, 3]),
        hidden_size=32, num_labels=3, auxiliary_in_channels=72, use_auxiliary_head=False,
    )  # fmt: skip
    model = transformers.UperNetForSemanticSegmentation(config)
    answer = model(torch.rand(2, 3, 64, 96), labels=torch.randint(3, (2, 64, 96)))
    answer.loss.backward()
    assert answer.logits.shape == (2, 3, 64, 96)


@pytest.mark.parametrize("name", ["gpvit_nano", "gpvit_nano_adapter"])
def test_detr_freezes_our_norms_and_detects(name):
    config = transformers.DetrConfig(
        use_timm_backbone=False, backbone_config=backbone(name, out_indices=[-1], freeze_batch_norm_2d=True),
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=5,
    )  # fmt: skip
    model = transformers.DetrForObjectDetection(config).eval()
    assert model(pixel_values=torch.rand(1, 3, 64, 96)).pred_boxes.shape == (1, 5, 4)


def test_the_backbone_gives_timms_features():
    model = transformers.TimmBackbone(backbone("gpvit_nano", out_indices=[2, 5])).eval()
    own = timm.create_model("gpvit_nano", features_only=True, out_indices=(2, 5)).eval()
    own.load_state_dict(model._backbone.state_dict())
    x = torch.rand(1, 3, 64, 96)
    for theirs, ours in zip(model(x).feature_maps, own(x), strict=True):
        assert torch.equal(theirs, ours)


@pytest.fixture(scope="module")
def model():
    return gpvit.create_model("gpvit_nano", num_classes=3, img_size=(64, 96)).eval()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("hub") / "fruit"
    gpvit.save(model, folder, class_names=["apple", "pear", "plum"], inputs={"crop_pct": 0.9})
    return str(folder)


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 130, 3), dtype=np.uint8))


def test_a_folder_of_ours_is_a_classifier(folder, model):
    assert transformers.AutoConfig.from_pretrained(folder).id2label == {0: "apple", 1: "pear", 2: "plum"}
    again = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    x = torch.rand(2, 3, 64, 96)
    assert torch.equal(again(x).logits, model(x))
    assert torch.equal(again(x[:, :, :, :64]).logits, model(x[:, :, :, :64]))


def test_a_folder_of_ours_gives_features(folder, model):
    again, x = transformers.AutoModel.from_pretrained(folder).eval(), torch.rand(1, 3, 64, 96)
    assert torch.equal(again(x).last_hidden_state, model.forward_features(x))
    assert torch.equal(again(x).pooler_output, model.forward_head(model.forward_features(x), pre_logits=True))


def test_a_folder_of_ours_is_a_backbone(folder, model):
    again = transformers.TimmBackbone.from_pretrained(f"local-dir:{folder}", out_indices=[2, 5, 8, 11]).eval()
    x = torch.rand(1, 3, 64, 96)
    expected = model.forward_intermediates(x, indices=[2, 5, 8, 11], intermediates_only=True)
    assert all(torch.equal(*pair) for pair in zip(again(x).feature_maps, expected, strict=True))


def test_pictures_are_prepared_and_classified_alike(folder, photo):
    predictor = gpvit.Predictor(folder)
    prepared = transformers.AutoImageProcessor.from_pretrained(folder)(photo)["pixel_values"]
    assert torch.equal(prepared[0], predictor.preprocessing.transform()(photo))
    answer = transformers.pipeline("image-classification", folder)(photo, top_k=3)
    expected = predictor(photo).top(3)
    assert [each["label"] for each in answer] == [each.class_name for each in expected]
    assert [each["score"] for each in answer] == pytest.approx([each.probability for each in expected], abs=1e-6)


def test_what_transformers_saves_is_read_here(folder, model, tmp_path):
    transformers.AutoModelForImageClassification.from_pretrained(folder).save_pretrained(tmp_path)
    again, x = gpvit.load(tmp_path), torch.rand(1, 3, 64, 96)
    assert torch.equal(again(x), model(x))
    assert again.pretrained_cfg["label_names"] == ["apple", "pear", "plum"]


def test_a_segmenter_is_not_taken_for_a_classifier(tmp_path):
    gpvit.save(gpvit.create_model("segformer_gpvit_nano", num_classes=2), tmp_path)
    with pytest.raises(ValueError, match="Unrecognized model"):
        transformers.AutoConfig.from_pretrained(tmp_path)
