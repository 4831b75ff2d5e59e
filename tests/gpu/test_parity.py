"""A GPU computes what the CPU does."""

import copy

import pytest
import torch
from torch import nn

from gpvit import create_model
from gpvit.models.folding import fold
from gpvit.ops.deformable import FEW, deformable_sample

pytestmark = pytest.mark.gpu
MODELS = ("gpvit_nano", "segformer_gpvit_nano", "upernet_gpvit_nano")


@pytest.fixture(autouse=True)
def _exact_convolutions():
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield


def difference(there: torch.Tensor, here: torch.Tensor) -> float:
    return float((there.cpu() - here).abs().max() / here.abs().max())


@pytest.mark.parametrize("prepare", [copy.deepcopy, fold])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_cpu(accelerator, name, prepare):
    model = prepare(create_model(name).eval())
    images = torch.rand(2, 3, 72, 104)
    with torch.inference_mode():
        expected = model(images)
        assert difference(model.to(accelerator)(images.to(accelerator)), expected) < 1e-4


@pytest.mark.parametrize("name", ["retinanet_gpvit_nano", "mask_rcnn_gpvit_nano"])
def test_maps_of_detectors_are_those_of_the_cpu(accelerator, name):
    model = create_model(name).eval()
    images = torch.rand(2, 3, 96, 128)
    with torch.inference_mode():
        features = model.backbone(images)
        there = copy.deepcopy(model.backbone).to(accelerator)(images.to(accelerator))
    assert features.keys() == there.keys()
    for level, values in features.items():
        assert difference(there[level], values) < 1e-4, level


@pytest.mark.parametrize("queries", [40, 20_000])  # fewer than FEW coordinates, and more
def test_deformable_sampling_and_its_gradients_are_those_of_the_cpu(accelerator, queries):
    shapes = [(12, 16), (6, 8)]
    value = torch.randn(1, sum(h * w for h, w in shapes), 2, 8)
    locations, weights = torch.rand(1, queries, 2, 2, 4, 2), torch.rand(1, queries, 2, 2, 4)
    assert (locations.numel() > 2 * FEW) == (queries > 1000)
    results = []
    for device in ("cpu", accelerator):
        arguments = [nn.Parameter(each.to(device)) for each in (value, locations, weights)]
        out = deformable_sample(arguments[0], shapes, *arguments[1:])
        out.square().sum().backward()
        results.append([out.detach(), *(argument.grad for argument in arguments)])
    for here, there in zip(*results, strict=True):
        assert difference(there, here) < 1e-4
