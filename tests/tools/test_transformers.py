"""transformers: its wrappers of timm compute what timm does, and its systems learn on our backbones."""

import pytest
import timm
import torch

import gpvit  # noqa: F401  timm learns the models

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
