"""GPViT against outputs, names and counts of the authors' code, recorded in tests/golden."""

import re

import numpy as np
import pytest
import timm
import torch
from golden import fill, official

import gpvit  # noqa: F401  timm learns the models
from gpvit.models.backbone import GPViT
from gpvit.ops.resizing import resize_pos_embed
from gpvit.zoo.files import load_weights
from gpvit.zoo.official import convert_official

LEVELS = (1, 2, 3, 4)
IMAGES = ("sq", "rect")
TOLERANCE = 1e-5  # of the largest absolute value


@pytest.fixture(scope="module")
def model() -> GPViT:
    model = timm.create_model("gpvit_l1", feature_norms=(2, 5, 8))
    weights = convert_official(official.state_dict("cls_L1"))
    taps = {  # the authors' classification file has none; their names give the values
        f"feature_norms.{i}.{leaf}": torch.from_numpy(fill.weight(f"backbone.norm{i}.{leaf}", (216,)))
        for i in (2, 5, 8)
        for leaf in ("weight", "bias")
    }
    load_weights(model, {**weights, **taps}, source="golden fill")
    return model.eval()


@pytest.fixture(scope="module")
def computed(model) -> dict[str, dict[str, torch.Tensor]]:
    """Everything that is recorded, for each image, in the layout of the record."""
    return {name: compute(model, official.image(name)) for name in IMAGES}


@torch.no_grad()
def compute(model: GPViT, image: torch.Tensor) -> dict[str, torch.Tensor]:
    patches = model.stem(image)
    features, layers = model.forward_intermediates(image, output_fmt="NHWC")
    emitted = model.forward_intermediates(image, indices=(2, 5, 8, 11), norm=True, intermediates_only=True)
    return {
        "logits": model(image),
        "neck": model.forward_head(features, pre_logits=True),
        "feat": model.forward_features(image).permute(0, 3, 1, 2),
        "patch_embed": patches.flatten(1, 2),
        "embed_pos": (patches + resize_pos_embed(model.pos_embed, patches.shape[1:3])).flatten(1, 2),
        **{f"layer{i}": layer.flatten(1, 2) for i, layer in enumerate(layers)},
        **{f"out{i}": feature for i, feature in zip((2, 5, 8, 11), emitted, strict=True)},
    }


def thinned(array: np.ndarray, marks: str) -> np.ndarray:
    """Take of an array what the marks in a recorded name say was kept."""
    steps = {mark: int(step) for mark, step in re.findall(r"_(tok|hw|c)(\d+)", marks)}
    if "_b0" in marks:
        array = array[0]
    if "tok" in steps:
        return array[:: steps["tok"], :: steps["c"]]
    if "hw" in steps:
        return array[:, :: steps["c"], :: steps["hw"], :: steps["hw"]]
    return array


@pytest.mark.parametrize("image", IMAGES)
def test_every_recorded_output_is_met(computed, image):
    seen = set()
    for name, expected in official.outputs(f"cls_L1_{image}").items():
        what, marks = re.fullmatch(r"([a-z]+(?:_embed|_pos)?\d*)(.*)", name).groups()
        if name == "input_digest":
            assert fill.digest(official.image(image).numpy()) == expected
            continue
        output = computed[image][what].numpy()
        actual = fill.summary(output) if marks == "_summary" else thinned(output, marks)
        assert actual.shape == expected.shape, name
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        assert error < TOLERANCE, f"{name}: off by {error:.1e} of the largest value"
        seen.add(what)
    assert seen == computed[image].keys()


@pytest.mark.parametrize("level", LEVELS)
def test_converted_names_shapes_and_types_are_the_models(level):
    converted = convert_official(official.meta_state_dict(f"cls_L{level}"))
    with torch.device("meta"):
        model = timm.create_model(f"gpvit_l{level}")
    own = model.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in converted.items()} == {n: (t.shape, t.dtype) for n, t in own.items()}
    model.load_state_dict(converted, strict=True, assign=True)


@pytest.mark.parametrize("level", [1, 2])  # both stems; the larger sizes have the same entries
def test_conversion_takes_every_value_once(level):
    start, given = 0, {}
    for name, tensor in official.meta_state_dict(f"cls_L{level}").items():
        given[name] = torch.arange(start, start + tensor.numel(), dtype=torch.int32).reshape(tensor.shape)
        start += tensor.numel()
    values = torch.cat([t.flatten() for t in convert_official(given).values()])
    assert torch.equal(values.sort().values, torch.arange(start, dtype=torch.int32))


@pytest.mark.parametrize("name", ["qkv.weight", "qkv.bias"])
def test_each_direction_takes_its_half_of_queries_keys_and_values(name):
    given = official.meta_state_dict("cls_L1")
    rows = torch.arange(3 * 216).reshape(-1, *[1] * (given[f"backbone.layers.0.{name}"].ndim - 1))
    converted = convert_official({**given, f"backbone.layers.0.{name}": rows})
    for direction, half in (("vertical", 0), ("horizontal", 108)):
        expected = torch.cat([torch.arange(start + half, start + half + 108) for start in (0, 216, 432)])
        assert torch.equal(converted[f"blocks.0.attn.{direction}.{name}"].flatten(), expected)


def test_an_entry_without_counterpart_is_named():
    given = official.meta_state_dict("cls_L1")
    with pytest.raises(ValueError, match=r"no counterpart for backbone\.layers\.0\.other, neck\.more"):
        convert_official({**given, "backbone.layers.0.other": torch.zeros(1), "neck.more": torch.zeros(1)})


@pytest.mark.parametrize("level", LEVELS)
def test_parameter_counts_by_part(level):
    with torch.device("meta"):
        model = timm.create_model(f"gpvit_l{level}")
    neck, head = (sum(p.numel() for p in part.parameters()) for part in (model.pool, model.head))
    total = sum(p.numel() for p in model.parameters())
    recorded = official.parameter_counts()["cls"][f"L{level}"]
    assert {"backbone": total - neck - head, "neck": neck, "head": head} == recorded["parts"]
    assert total == recorded["parameters"]


@pytest.mark.parametrize("level", LEVELS)
def test_position_embedding_becomes_a_grid_in_row_major_order(level):
    tokens = torch.arange(784.0)[None, :, None]
    state_dict = {**official.meta_state_dict(f"cls_L{level}"), "backbone.pos_embed": tokens}
    assert torch.equal(convert_official(state_dict)["pos_embed"], tokens.reshape(1, 28, 28, 1))
