"""What the ledger says of what is ours alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from golden import official
from ledger.page import Entry, check, settings, shape_of, tokens
from timm.data import Mixup
from torch import nn
from torchvision.transforms.v2 import functional as V

import gpvit
from gpvit.data.samplers import EpochOrder, ResumableBatchSampler
from gpvit.data.transforms.segmentation import PhotometricDistort, SegmentationAugmentation
from gpvit.inference.groups import draw_groups
from gpvit.layers.local_attention import CrossShapedAttention
from gpvit.models.folding import fold
from gpvit.tasks import ClassificationTask, OptimConfig
from gpvit.tasks.detection import detect
from gpvit.zoo.official import convert_official
from gpvit.zoo.plain_vits import HEADS


class Fixed:
    """Has the attributes it is given."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


@check("Image sizes with odd token grids")
@torch.no_grad()
def _(entry: Entry) -> None:
    model = gpvit.create_model("gpvit_nano", num_classes=3).eval()
    image = tokens(1, 3, 44, 67)  # 6 x 9 tokens
    half = model.stem.first(image).relu()
    padded = model.stem.proj(F.pad(half, (0, 40 - half.shape[3], 0, 24 - half.shape[2])))
    torch.testing.assert_close(model.stem(image), padded.permute(0, 2, 3, 1))
    assert padded.shape[2:] == (6, 10)
    assert model.forward_features(image).shape[1:3] == (6, 9)
    assert not model.stem.extra


@check("Images of the groups (Figure 6)")
@torch.no_grad()
def _(entry: Entry) -> None:
    model = gpvit.create_model("gpvit_nano", num_classes=3).eval()
    picture = draw_groups(model, np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8), size=48)
    image = V.normalize(
        V.to_dtype(V.pil_to_tensor(picture.image), torch.float32, scale=True),
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    )
    maps = model.group_maps(image[None])
    assert [block.block for block in picture.blocks] == list(maps) == [1, 4, 7, 10]
    for block in picture.blocks:
        both = maps[block.block]
        for assigned, shares in ((block.assignment, both.grouping), (block.answering, both.ungrouping)):
            assert (assigned == shares[0].mean(0).argmax(0).numpy()).mean() > 0.98  # rounding apart


@check("Plain baselines (Table 10)")
def _(entry: Entry) -> None:
    assert list(HEADS.values()) == [6, 6, 6, 12]
    assert HEADS[max(HEADS)] == 12
    entry.says("6", "12")
    with torch.device("meta"):
        heads = [timm.create_model("vit_d216_p16", **more).blocks[0].attn.num_heads for more in ({}, {"num_heads": 4})]
    assert heads == [6, 4]


@check("Queries, keys and values of a local block")
def _(entry: Entry) -> None:
    attention = CrossShapedAttention(24, 4, 2)
    shapes = [tuple(getattr(attention, way).qkv.weight.shape) for way in ("vertical", "horizontal")]
    assert shapes == [(36, 24)] * 2
    theirs = [shape for name, shape, _ in official.entries("cls_L1") if name == "backbone.layers.0.qkv.weight"]
    assert theirs == [(3 * 216, 216)]
    converted = convert_official(official.meta_state_dict("cls_L1"))
    assert converted["blocks.0.attn.vertical.qkv.weight"].shape == (3 * 108, 216)


@check("Folds in inference")
def _(entry: Entry) -> None:
    model, x = timm.create_model("gpvit_nano", num_classes=3).eval(), tokens(2, 3, 64, 64)
    folded = fold(model)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-6)
    with torch.profiler.profile() as profile:
        folded(x)
    assert not [event for event in profile.events() if "batch_norm" in event.name]
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in model.parameters())
    model.stem.first.norm.register_forward_hook(lambda *_: None)
    assert isinstance(fold(model).stem.first.norm, nn.BatchNorm2d)
    entry.says("hooks")


@check("Learning rate for other batches")
def _(entry: Entry) -> None:
    assert OptimConfig(lr=0.1, base_batch_size=32).peak_lr(16) == pytest.approx(0.05)
    assert OptimConfig(lr=0.1).peak_lr(16) == 0.1
    coco = "coco/retinanet_gpvit_l1_3x"
    assert [settings(coco, *more)["optim.base_batch_size"] for more in ((), ("--optim.base_batch_size", "null"))] == [
        32,
        None,
    ]


@check("Pairs of Mixup and CutMix")
def _(entry: Entry) -> None:
    task = ClassificationTask("gpvit_nano")
    with torch.device("meta"):
        task.build(Fixed(preprocessing=Fixed(input_size=(3, 32, 32)), num_classes=6))
    assert type(task.mixup) is Mixup
    task.mixup.label_smoothing = 0.0
    np.random.seed(0)
    _, targets = task.mixup(tokens(6, 3, 8, 8), torch.arange(6))
    partners = [set(row.nonzero().flatten().tolist()) for row in targets]
    assert partners == [{i, 5 - i} for i in range(6)]
    orders = [EpochOrder(6).indices(0, epoch).tolist() for epoch in range(2)]
    assert orders[0] != orders[1]


@check("The end of an epoch")
def _(entry: Entry) -> None:
    left_out = []
    for epoch in range(2):
        batches = [ResumableBatchSampler(EpochOrder(23), 2, 0, rank, 4) for rank in range(4)]
        seen = [index for each in batches for step in range(len(each)) for index in each.batch(epoch, step)]
        assert len(seen) == len(set(seen)) == 16
        left_out.append(set(range(23)) - set(seen))
    assert left_out[0] != left_out[1]


@check("Backbones of segmentation models without ImageNet weights")
def _(entry: Entry) -> None:
    backbone = gpvit.create_model("segformer_gpvit_nano", num_classes=3).backbone.model
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Linear):
            assert 0.018 < module.weight.std() < 0.022, name
            assert not module.bias.any(), name


@check("Photometric distortion")
def _(entry: Entry) -> None:
    distort = PhotometricDistort()
    assert SegmentationAugmentation().photometric
    image = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    image[0] = 50
    brighter = distort.transform(
        image,
        {
            "brightness_factor": 1.1,
            "contrast_before": True,
            **dict.fromkeys(("contrast_factor", "saturation_factor", "hue_factor", "channel_permutation")),
        },
    )
    torch.testing.assert_close(brighter[:, 0, 0].float(), torch.tensor([55.0, 110, 110]), atol=1, rtol=0)
    lowest, highest = distort.brightness
    assert (lowest, highest) == (1 - 32 / 255, 1 + 32 / 255)
    assert (distort.contrast, distort.saturation) == ((0.5, 1.5), (0.5, 1.5))
    ade20k = "ade20k/upernet_gpvit_l1"
    assert settings(ade20k, "--data.augmentation.photometric", "false")["data.augmentation.photometric"] is False


@check("Loss scale of detectors")
def _(entry: Entry) -> None:
    used = settings("coco/mask_rcnn_gpvit_l1_1x")
    assert used["train.precision"] == "16-mixed"
    scale = torch.amp.GradScaler("cpu").get_scale()
    entry.says(f"{scale:.0f}", "512")


@check("Proposals of an image without any positive anchor")
def _(entry: Entry) -> None:
    network = shape_of("mask_rcnn_gpvit_nano", num_classes=2).rpn
    assert network.fg_bg_sampler.batch_size_per_image == 256
    labels = torch.zeros(300)
    anchors = torch.zeros(300, 4)
    loss, boxes = network.compute_loss(torch.zeros(300, 1), anchors, [labels], [anchors])
    assert loss.item() == pytest.approx(np.log(2))  # a mean, so that the number does not matter
    assert boxes == 0
    entry.says("257", "256", "0.4 %")


@check("Detection in batches of several image sizes")
def _(entry: Entry) -> None:
    calls = []

    def find(images: list[torch.Tensor], masks: str) -> list[dict]:
        calls.append(len(images))
        return [{} for _ in images]

    small, large = torch.zeros(3, 32, 32), torch.zeros(3, 32, 64)
    for images in ([small, small], [small, large]):
        assert len(detect(SimpleNamespace(find=find), images)) == 2
    assert calls == [2, 1, 1]
