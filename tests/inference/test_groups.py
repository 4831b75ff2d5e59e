from contextlib import ExitStack

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

import gpvit
from gpvit.data import load_photograph
from gpvit.data.colors import distinct_colours
from gpvit.inference.groups import BlockGroups, GroupImage, draw_groups


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model("gpvit_nano", num_classes=0).eval()


def planted(height=4, width=6, groups=3, focus=8.0):
    """Groups that each look at one vertical band, the last weakly."""
    strength = np.ones((groups, height, width), np.float32)
    bands = np.arange(width) * groups // width
    for group in range(groups):
        strength[group][:, bands == group] = focus if group < groups - 1 else 1.5
    strength /= strength.mean(axis=(1, 2), keepdims=True)
    return BlockGroups(1, strength, strength), bands


def test_tokens_belong_where_they_are_planted():
    block, bands = planted()
    assert (block.assignment == bands).all()


def test_belonging_is_the_most_probable_group_by_bayes_rule(model):
    block = draw_groups(model, load_photograph("china"), size=64).blocks[0]
    token_given_group = block.strength / block.strength.sum(axis=(1, 2), keepdims=True)
    posterior = token_given_group / token_given_group.sum(axis=0)
    assert (posterior.argmax(axis=0) == block.assignment).all()


def test_answers_are_the_ungrouping_attention(model):
    drawing = draw_groups(model, load_photograph("china"), size=64)
    maps = model.group_maps(normalised(model, drawing.image))
    for block in drawing.blocks:
        np.testing.assert_allclose(block.answers, maps[block.block].ungrouping[0].mean(0), rtol=1e-4)
        np.testing.assert_allclose(block.answers.sum(axis=0), 1, rtol=1e-4)
        assert (block.answering == block.answers.argmax(axis=0)).all()
    block = drawing.blocks[0]
    colours = (np.asarray(drawing.hard(block, block.answering)) / 255 - np.asarray(drawing.hard(block)) / 255)[
        4::8, 4::8
    ]
    expected = 0.6 * (
        np.array(distinct_colours(16))[block.answering] - np.array(distinct_colours(16))[block.assignment]
    )
    scale = len(colours) // len(expected)
    np.testing.assert_allclose(colours[::scale, ::scale], expected, atol=0.01)


def test_most_distinct_groups_leave_copies_out():
    rng = np.random.default_rng(0)
    for _ in range(20):
        originals = rng.exponential(size=(4, 5, 7)).astype(np.float32)
        labels = rng.permutation(np.arange(12) % 4)
        copies = originals[labels] * (1 + 1e-4 * rng.random((12, 5, 7), np.float32))
        assert sorted(labels[BlockGroups(0, copies, copies).most_distinct(4)]) == [0, 1, 2, 3]
    block, _ = planted()
    assert sorted(block.most_distinct(9)) == [0, 1, 2]


@pytest.mark.parametrize("size", [(300, 200), (201, 333), (40, 90), (64, 64), (1000, 100)])
def test_the_drawing_keeps_its_shape_and_maps_cover_it(model, size):
    drawing = draw_groups(model, Image.new("RGB", size, "teal"), size=48)
    assert min(drawing.image.size) == 48
    assert drawing.image.width / drawing.image.height == pytest.approx(size[0] / size[1], rel=0.03)
    assert [block.block for block in drawing.blocks] == [1, 4, 7, 10]
    for block in drawing.blocks:
        assert block.strength.shape[1:] == (-(-drawing.image.height // 8), -(-drawing.image.width // 8))
    shown = drawing.hard(drawing.blocks[0])
    assert shown.size == drawing.soft(drawing.blocks[0], 0).size
    assert min(shown.size) >= 224
    assert shown.width * drawing.image.height == shown.height * drawing.image.width


def test_strength_is_in_multiples_of_an_even_share(model):
    for block in draw_groups(model, load_photograph("cat"), size=64).blocks:  # an even grid: nothing is cut off
        np.testing.assert_allclose(block.strength.mean(axis=(1, 2)), 1, rtol=1e-4)


def test_hard_pictures_are_squares_of_the_groups_colours():
    block, bands = planted(height=4, width=6)
    drawing = GroupImage(Image.new("RGB", (44, 30), "white"), (block,))  # six tokens of 8 pixels, cut to 44
    shown = np.asarray(drawing.hard(block)) / 255
    scale = shown.shape[1] // 44
    colours = np.array(distinct_colours(3))[bands]
    for x in range(44 * scale):
        np.testing.assert_allclose(
            shown[:, x], 0.4 + 0.6 * colours[None, x // (8 * scale)].repeat(30 * scale, 0), atol=0.01
        )


def test_soft_pictures_are_bright_where_the_group_looks():
    block, bands = planted(height=6, width=9)
    drawing = GroupImage(Image.new("RGB", (72, 48), "gray"), (block,))
    for group in range(3):
        brightness = np.asarray(drawing.soft(block, group).convert("L")).mean(axis=0)
        looked_at = np.repeat(bands == group, len(brightness) // 9)
        assert brightness[looked_at].mean() > 1.5 * brightness[~looked_at].mean()


def test_gray_models_are_shown_gray():
    model = timm.create_model("gpvit_nano", in_chans=1, num_classes=0).eval()
    assert draw_groups(model, load_photograph("coffee"), size=64).image.mode == "L"


def test_the_models_own_size_is_the_default(model):
    assert min(draw_groups(model, Image.new("RGB", (50, 50))).image.size) == 224


def normalised(model, image):
    mean, std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
    return F.normalize(F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True), list(mean), list(std))[None]


def test_a_segmenters_groups_are_those_of_its_backbone():
    torch.manual_seed(0)
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=2, backbone_kwargs={"img_size": 64}).eval()
    drawing = draw_groups(model, load_photograph("china"), size=44)  # tokens are padded from odd numbers
    maps = model.backbone.model.group_maps(normalised(model, drawing.image))
    assert [block.block for block in drawing.blocks] == [1, 4, 7, 10]
    for block in drawing.blocks:
        expected = maps[block.block].grouping[0].mean(0)
        np.testing.assert_allclose(block.strength, expected * expected[0].numel(), rtol=1e-4)


@pytest.mark.parametrize("system", ["mask_rcnn", "retinanet"])
def test_a_detectors_groups_are_those_within_its_adapter(system):
    torch.manual_seed(0)
    options = {"num_classes": 2, "backbone_kwargs": {"img_size": 64}, "min_size": 64}
    model = gpvit.create_model(f"{system}_gpvit_nano", **options).eval()
    adapter = model.backbone.body
    for injector in adapter.injectors:
        torch.nn.init.ones_(injector.gamma)  # zero at first, as if there were no adapter
    drawing = draw_groups(model, load_photograph("china").resize((96, 64)))
    assert drawing.image.size == (96, 64)
    seen = []
    with ExitStack() as hooks, torch.no_grad():
        for block in drawing.blocks:
            grouping = adapter.backbone.blocks[block.block].grouping
            hooks.enter_context(grouping.register_forward_pre_hook(lambda grouping, inputs: seen.append(inputs[:2])))
        model([F.to_dtype(F.pil_to_tensor(drawing.image), torch.float32, scale=True)])
    plain = adapter.backbone.group_maps(normalised(model, drawing.image))
    for block, (groups, tokens) in zip(drawing.blocks, seen, strict=True):
        with torch.no_grad():
            weights = adapter.backbone.blocks[block.block].grouping(groups, tokens, return_weights=True)[1]
        expected = weights[0].mean(0).unflatten(-1, (8, 12)) * 96
        np.testing.assert_allclose(block.strength, expected, rtol=1e-3)
        other = plain[block.block].grouping[0].mean(0) * 96
        assert np.abs(block.strength - other.numpy()).max() > 0.01, "the adapter changes what groups look at"


def test_large_models_are_shown_at_no_more_than_512_pixels():
    model = gpvit.create_model("retinanet_gpvit_nano", num_classes=2, backbone_kwargs={"img_size": 64}).eval()
    assert min(model.pretrained_cfg["input_size"][1:]) == 800
    assert draw_groups(model, Image.new("RGB", (60, 60))).image.size == (512, 512)


@pytest.mark.slow
def test_figure_has_a_row_for_each_block_and_is_saved_whole(model, tmp_path):
    drawing = draw_groups(model, load_photograph("rocket"), size=64, title="a $rocket")
    figure = drawing.figure(num_soft=3)
    assert sum(bool(axes.images) for axes in figure.axes) == 1 + 4 * (1 + 3)
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title.startswith("Block")] == [f"Block {i}, 16 groups" for i in (1, 4, 7, 10)]
    path = tmp_path / "new" / "rocket_groups.png"
    drawing.save(path, num_soft=17)  # more than there are groups
    with Image.open(path) as image:
        image.load()
    assert list(path.parent.iterdir()) == [path]


def test_what_has_no_groups_is_told(model):
    image = Image.new("RGB", (64, 64))
    with pytest.raises(ValueError, match="ResNet has no group propagation"):
        draw_groups(timm.create_model("resnet10t"), image)
    with pytest.raises(ValueError, match="Segmenter has no group propagation"):
        draw_groups(gpvit.create_model("segformer_resnet10t", num_classes=2), image)
    local = [{"kind": "local", "num_heads": 4}]
    with pytest.raises(ValueError, match="no group propagation block"):
        draw_groups(timm.create_model("gpvit_nano", blocks=local, num_classes=0, global_pool="avg").eval(), image, 32)
    with pytest.raises(ValueError, match="size is 31"):
        draw_groups(model, image, size=31)
    with pytest.raises(ValueError, match=r"model\.eval"):
        draw_groups(timm.create_model("gpvit_nano").train(), image)
