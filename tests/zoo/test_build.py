"""Blocks and decoders of one's own: registered, named, saved and loaded."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gpvit
from gpvit.errors import UserError
from gpvit.models.segmenter import DECODERS
from gpvit.models.variants import BLOCKS
from gpvit.zoo.catalog import SYSTEMS


class Shift(nn.Module):
    """A block that takes one of the common arguments, one of its own, and holds a constant that no file does."""

    def __init__(self, dim: int, by: int = 1):
        super().__init__()
        self.proj = nn.Linear(dim, dim)
        self.by = by
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * self.proj(x.roll(self.by, dims=1))


class Sum(nn.Module):
    """A decoder whose first argument is called `channels`, as one of ours calls its width."""

    def __init__(self, channels: list[int], num_classes: int, bias: bool = True):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(each, num_classes, 1, bias=bias) for each in channels)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        maps = [conv(feature) for conv, feature in zip(self.convs, features, strict=True)]
        return sum(F.interpolate(each, maps[0].shape[2:]) for each in maps)


@pytest.fixture(autouse=True)
def _unregistered():
    yield
    for registry in (BLOCKS, DECODERS, SYSTEMS):
        for name in ("shift", "sum", "sum_two"):
            registry.pop(name, None)


LAYOUT = [{"kind": "local", "num_heads": 4}, {"kind": "shift", "by": 2}]
WHERE = {
    "gpvit_nano": {"blocks": LAYOUT},
    "segformer_gpvit_nano": {"backbone_kwargs": {"blocks": LAYOUT, "out_indices": [0, 1], "feature_norms": [0]}},
    "mask_rcnn_gpvit_nano": {"backbone_kwargs": {"blocks": LAYOUT}, "adapter_kwargs": {"blocks": [[0, 0], [1, 1]]}},
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * n.startswith("mask")) for n in WHERE])
def test_a_registered_block_stands_wherever_layouts_do_and_comes_back_from_its_file(name, tmp_path):
    gpvit.register_block("shift", Shift)
    model = gpvit.create_model(name, num_classes=3, **WHERE[name]).eval()
    (block,) = (module for module in model.modules() if isinstance(module, Shift))
    assert block.by == 2
    gpvit.save(model, tmp_path / "model.safetensors")
    loaded = gpvit.load(tmp_path / "model.safetensors")
    x = torch.rand(3, 64, 96)
    mine, theirs = ((m([x])[0]["scores"] if "rcnn" in name else m(x[None])) for m in (model, loaded))
    assert torch.equal(mine, theirs)
    del BLOCKS["shift"]
    with pytest.raises(UserError, match=r"model\.safetensors .*unknown kind of block 'shift'.*import the module that"):
        gpvit.load(tmp_path / "model.safetensors")


def test_a_class_is_taken_where_a_name_is_and_its_file_needs_the_name(tmp_path):
    blocks = [LAYOUT[0], {"kind": Shift}]
    model = gpvit.create_model("gpvit_nano", blocks=blocks).eval()
    with pytest.raises(UserError, match=r"Shift.*gpvit\.register_block\(NAME, CLASS\)"):
        gpvit.save(model, tmp_path / "model.safetensors")
    gpvit.register_block("shift", Shift)
    gpvit.save(model, tmp_path / "model.safetensors")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(gpvit.load(tmp_path / "model.safetensors")(x), model(x))


@pytest.mark.parametrize("backbone", ["gpvit_nano", "resnet18"])
def test_a_registered_decoder_stands_before_backbones_and_comes_back_from_its_file(backbone, tmp_path):
    gpvit.register_decoder("sum", nn.Identity)  # as in a notebook, where a cell runs twice
    gpvit.register_decoder("sum", Sum)
    gpvit.register_decoder("sum_two", nn.Identity)  # a name that begins as another
    model = gpvit.create_model(f"sum_{backbone}", num_classes=3, decoder_kwargs={"bias": False}).eval()
    assert isinstance(model.decoder, Sum)
    assert model.decoder.convs[0].bias is None
    assert isinstance(gpvit.create_model("sum_two_gpvit_nano").decoder, nn.Identity)
    gpvit.save(model, tmp_path / "model.safetensors")
    x = torch.rand(1, 3, 64, 96)
    assert torch.equal(gpvit.load(tmp_path / "model.safetensors")(x), model(x))
    assert gpvit.Segmenter(backbone, Sum, num_classes=3)(x).shape == (1, 3, 64, 96)
    del SYSTEMS["sum"]
    with pytest.raises(UserError, match=r"model\.safetensors is of an unknown model.*import the module that registers"):
        gpvit.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("register", [gpvit.register_block, gpvit.register_decoder])
def test_what_cannot_be_registered_is_refused(register):
    own = "group" if register is gpvit.register_block else "mask_rcnn"
    with pytest.raises(UserError, match=f"'{own}' is a .* of gpvit's own"):
        register(own, nn.Identity)
    for wrong in ("a-b", "", "1st", None):
        with pytest.raises(UserError, match="must be letters, digits and underscores"):
            register(wrong, nn.Identity)
    for wrong in (nn.Identity(), "Identity"):
        with pytest.raises(UserError, match="must be a class of modules"):
            register("shift", wrong)
