"""segmentation_models_pytorch: every decoder learns on an adapter's timm name."""

import pytest
import torch

import gpvit

smp = pytest.importorskip("segmentation_models_pytorch", reason="make test-tools installs it")

DECODERS = ("Unet", "UnetPlusPlus", "FPN", "UPerNet", "Segformer", "DeepLabV3", "DeepLabV3Plus", "PAN", "PSPNet")
DECODERS += ("Linknet", "MAnet")
SIZES = [f"gpvit_{size}_adapter" for size in ("nano", "tiny", "l1", "l2", "l3", "l4")]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_step_of_every_decoder(decoder):
    torch.manual_seed(0)
    model = getattr(smp, decoder)("tu-gpvit_nano_adapter", encoder_weights=None, classes=3)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    before = model.segmentation_head[0].weight.clone()
    logits = model(torch.rand(2, 3, 128, 192))
    assert logits.shape == (2, 3, 128, 192)
    torch.nn.functional.cross_entropy(logits, torch.randint(3, (2, 128, 192))).backward()
    optimiser.step()
    assert not torch.equal(model.segmentation_head[0].weight, before)
    assert model.encoder.model.model.backbone.stem.proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", SIZES)
def test_every_size(name):
    with torch.device("meta"):
        model = smp.FPN(f"tu-{name}", encoder_weights=None, classes=3)
    assert model.encoder.out_channels[2:] == [gpvit.create_model(name.removesuffix("_adapter")).embed_dim] * 4


def test_any_plain_transformer():
    name = gpvit.register_adapter("vit_tiny_patch16_224")
    model = smp.Unet(f"tu-{name}", encoder_weights=None, classes=3)
    assert model(torch.rand(2, 3, 64, 96)).shape == (2, 3, 64, 96)
