"""peft, torchao, pruning and what looks inside: each acts on, or sees, every layer, convolutions of the stem too."""

import pytest
import timm
import torch
from contract.subjects import difference, images

import gpvit  # noqa: F401  timm learns the models


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("gpvit_nano", num_classes=3).eval()


@pytest.mark.parametrize("targets", [["qkv"], ["stem.first.conv"], ["dwconv", "lepe", "conv"], "all-linear"])
def test_low_rank_updates_act_and_merge(model, targets):
    peft = pytest.importorskip("peft", reason="make test-tools installs it")
    x, plain = images(), model(images()).detach()
    if isinstance(targets, list) and "dwconv" in targets:
        targets = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)]
        targets = [n for n in targets if model.get_submodule(n).groups == 1]
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)).eval()
    assert difference(wrapped(x), plain) > 1e-4
    wrapped(x).sum().backward()
    # Untrained attention pooling is uniform: its key has no influence yet.
    updates = {name: p.grad for name, p in wrapped.named_parameters() if p.requires_grad and "pool." not in name}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in updates.values())
    expected = wrapped(x)
    assert difference(wrapped.merge_and_unload()(x), expected) < 1e-4


def test_integer_weights(model):
    torchao = pytest.importorskip("torchao.quantization", reason="make test-tools installs it")
    x, expected = images(), model(images()).detach()
    torchao.quantize_(model, torchao.Int8WeightOnlyConfig())
    assert torch.nn.functional.cosine_similarity(model(x), expected).min() > 0.99


def test_a_quantiser_sees_every_convolution(model):
    pytest.importorskip("torchao", reason="make test-tools installs it")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    x, expected = images(), model(images()).detach()
    quantiser = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.export(model, (x,)).module(), quantiser)
    prepared(x)
    graph = convert_pt2e(prepared)
    convolutions = [node for node in graph.graph.nodes if "conv2d" in str(node.target)]
    quantised = [node for node in convolutions if "dequantize" in str(node.args[0].target)]
    assert len(convolutions) == sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    assert len(quantised) == len(convolutions)
    assert torch.nn.functional.cosine_similarity(graph(x), expected).min() > 0.99


@pytest.mark.parametrize("layer", ["stem.first.conv", "stem.proj", "blocks.1.dwconv.norm", "blocks.11.dwconv"])
def test_class_activation_maps(model, layer):
    cam = pytest.importorskip("pytorch_grad_cam", reason="make test-tools installs grad-cam")
    with cam.GradCAM(model, [model.get_submodule(layer)]) as explain:
        assert explain(images(2, 64, 96), targets=None).shape == (2, 64, 96)


def test_a_summary_counts_every_convolution(model):
    torchinfo = pytest.importorskip("torchinfo", reason="make test-tools installs it")
    summary = torchinfo.summary(model, (1, 3, 64, 64), verbose=0)
    idle = [each.class_name for each in summary.summary_list if not each.num_params and each.class_name == "Conv2d"]
    assert summary.total_params == sum(p.numel() for p in model.parameters())
    assert not idle
    assert all(each.macs > 0 for each in summary.summary_list if each.class_name == "Conv2d")
