import os
import shutil

import pytest
import timm
import torch
from torch import nn

from gpvit.profile import workload
from gpvit.profile.workload import Case, create_for_size, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("224x224", (224, 224)), ("800X1280", (800, 1280)), ("7x9", (7, 9)), ("64", (64, 64))]
)
def test_size_is_read(text, size):
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "x", "224x", "x224", "0x224", "-1x2", "1.5x2", "224x224x3", "224,224", "²x²"])
def test_no_size_is_refused(text):
    with pytest.raises(ValueError, match="such as 224x224"):
        parse_size(text)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mode": "training"}, "'forward', 'train'"),
        ({"dtype": "float16"}, "'float32', 'bfloat16'"),
        ({"features": True, "mode": "train"}, "no logits"),
        ({"batch_size": 0}, "must be positive"),
        ({"size": (0, 32)}, "must be positive"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Case("resnet18", **setting)


def test_unknown_model_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="resnet18"):
        Case("resnet81").check()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_device_is_refused():
    with pytest.raises(ValueError, match="choose 'cpu'"):
        Case("resnet18", device="cuda:99").check()


def test_absent_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(FileNotFoundError, match="no-such-compiler"):
        Case("resnet18", compiled=True).check()
    Case("resnet18").check()


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "gpvit_nano"])
@pytest.mark.parametrize("size", [(64, 96), (128, 64)])
def test_models_are_made_for_the_size(name, size):
    images = torch.randn(1, 1, *size)
    assert create_for_size(name, size, in_chans=1).eval()(images).shape == (1, 1000)
    *_, features = create_for_size(name, size, in_chans=1, features=True).eval()(images)
    stride = {"test_resnet": 32, "test_vit": 16, "gpvit_nano": 8}[name]
    assert features.shape[2:] == (size[0] // stride, size[1] // stride)


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_systems_are_cases_too(mode):
    Case("segformer_gpvit_nano", (32, 64), 2, mode).build()()
    assert create_for_size("segformer_vit_tiny_patch16_224", (32, 64)).eval()(torch.zeros(1, 3, 32, 64)).shape[2:] == (
        32,
        64,
    )
    with pytest.raises(ValueError, match="segformer_gpvit_nano is no backbone; for its features name gpvit_nano"):
        create_for_size("segformer_gpvit_nano", (64, 64), features=True)


@pytest.mark.parametrize(
    ("model", "setting", "prepared"),
    [
        ("gpvit_nano", {}, True),
        ("segformer_gpvit_nano", {}, True),
        ("test_resnet", {}, False),
        ("gpvit_nano", {"mode": "train"}, False),
        ("gpvit_nano", {"compiled": True}, False),
        ("gpvit_nano", {"dtype": "bfloat16"}, False),
    ],
)
def test_our_models_are_prepared_for_inference_where_asked(model, setting, prepared):
    assert not Case(model, **setting).runs_prepared
    assert Case(model, prepared=True, **setting).runs_prepared == prepared


def test_a_prepared_copy_is_timed(monkeypatch):
    seen = []
    monkeypatch.setattr(workload, "Prepared", lambda model: lambda: seen.append(model) or model)
    Case("gpvit_nano", (32, 32), 1, prepared=True).build()()
    Case("gpvit_nano", (32, 32), 1).build()()
    assert len(seen) == 1


class Probe(nn.Module):
    """A model small enough to compile in a test; it keeps what it sees."""

    num_classes = 4
    seen: list[tuple[bool, bool, torch.dtype, torch.Size]]

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        out = self.conv(x).mean((2, 3))
        self.seen.append((self.training, torch.is_inference_mode_enabled(), out.dtype, x.shape))
        return out


@pytest.fixture
def probe(monkeypatch):
    model = Probe()
    model.seen = []
    monkeypatch.setitem(timm.models._registry._model_entrypoints, "probe", lambda **_: model)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_forward_is_inference(probe, dtype):
    before = probe.conv.weight.clone()
    Case("probe", (8, 16), 2, dtype=dtype).build()()
    assert probe.seen == [(False, True, getattr(torch, dtype), torch.Size([2, 3, 8, 16]))]
    assert torch.equal(probe.conv.weight, before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_changes_every_parameter(probe, dtype):
    before = [p.clone() for p in probe.parameters()]
    Case("probe", (8, 8), 2, mode="train", dtype=dtype).build()()
    assert probe.seen == [(True, False, getattr(torch, dtype), torch.Size([2, 3, 8, 8]))]
    assert not any(torch.equal(a, b) for a, b in zip(before, probe.parameters(), strict=True))
    assert all(p.grad is None and p.dtype == torch.float32 for p in probe.parameters())


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_lack_of_memory_is_a_memory_error(mode):
    with pytest.raises(MemoryError):
        Case("test_resnet", (4096, 4096), 10**7, mode=mode).build()


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="compiling needs a C++ compiler")
def test_compiled_models_are_compiled_for_one_shape(probe):
    probe.seen = None  # a side effect would break the graph
    probe.forward = lambda x: probe.conv(x).mean((2, 3))
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    for side in (8, 16):
        step = Case("probe", (side, side), 2, compiled=True).build()
        step()
        step()
    assert counters["stats"]["unique_graphs"] == 2
