"""UPerNet and SegFormer on GPViT against outputs, names and counts of the authors' code, recorded in tests/golden."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import fill, official

from gpvit.profile.cost import profile_model
from gpvit.zoo.factory import create_model
from gpvit.zoo.files import load_weights
from gpvit.zoo.official import convert_official

LEVELS = (1, 2, 3, 4)
DECODERS = ("upernet", "segformer")
SIZES = {"upernet": (512, 2048), "segformer": (512, 512)}  # that the MACs were recorded at
TOLERANCE = 1e-5  # of the largest absolute value


@pytest.fixture(scope="module", params=DECODERS)
def computed(request) -> tuple[str, dict[str, torch.Tensor]]:
    """Everything that is recorded for a decoder, in the layout of the record."""
    decoder = request.param
    model = create_model(f"{decoder}_gpvit_l1")
    load_weights(model, convert_official(official.state_dict(f"{decoder}_L1")), source="golden fill")
    image = official.image("seg")
    with torch.inference_mode():
        features = model.eval().forward_features(image)
        whole = model(image)
        outputs = {
            **{f"feat{i}": feature for i, feature in enumerate(features)},
            "decode": model.decode(features),
            "whole": whole,
            "prob": whole.softmax(dim=1),
        }
        if model.auxiliary is not None:
            outputs["aux"] = model.auxiliary(features[-1])
    return decoder, outputs


def thinned(array: np.ndarray, marks: str) -> np.ndarray:
    """Take of an array what the marks in a recorded name say was kept."""
    steps = {mark: int(step) for mark, step in re.findall(r"_(hw|c)(\d+)", marks)}
    start, every = int("_off1" in marks), steps.get("hw", 1)
    return array[:, :: steps.get("c", 1), start::every, start::every]


def test_every_recorded_output_is_met(computed):
    decoder, outputs = computed
    seen = set()
    for name, expected in official.outputs(f"{decoder}_L1_small").items():
        if name == "input_digest":
            assert fill.digest(official.image("seg").numpy()) == expected
            continue
        if name.startswith("pred_ori"):
            continue
        what, marks = re.fullmatch(r"(feat\d|decode|aux|whole|prob)(?:_logits)?(.*)", name).groups()
        output = outputs[what].numpy()
        if marks == "_shape":
            assert output.shape == tuple(expected)
            continue
        actual = fill.summary(output) if marks == "_summary" else thinned(output, marks)
        assert actual.shape == expected.shape, name
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        assert error < TOLERANCE, f"{name}: off by {error:.1e} of the largest value"
        seen.add(what)
    assert seen == outputs.keys()


def test_label_map_at_another_size_is_met(computed):
    decoder, outputs = computed
    expected = torch.from_numpy(official.outputs(f"{decoder}_L1_small")["pred_ori"].astype(np.int64))
    logits = F.interpolate(outputs["whole"], expected.shape, mode="bilinear", align_corners=False)[0]
    best, second = logits.topk(2, dim=0).values
    differs = logits.argmax(dim=0) != expected
    assert not (differs & (best - second > 1e-4 * logits.abs().max())).any()  # ties aside
    assert differs.float().mean() < 1e-3


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("level", [pytest.param(each, marks=[pytest.mark.slow] * (each > 1)) for each in LEVELS])
def test_names_shapes_counts_and_macs(decoder, level):
    converted = convert_official(official.meta_state_dict(f"{decoder}_L{level}"))
    with torch.device("meta"):
        model = create_model(f"{decoder}_gpvit_l{level}")
    own = model.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in converted.items()} == {n: (t.shape, t.dtype) for n, t in own.items()}
    model.load_state_dict(converted, strict=True, assign=True)

    def count(part: torch.nn.Module | None) -> int:
        return 0 if part is None else sum(p.numel() for p in part.parameters())

    recorded = official.parameter_counts()[decoder][f"L{level}"]
    parts = {"backbone": model.backbone, "decode_head": model.decoder, "auxiliary_head": model.auxiliary}
    assert {name: count(part) for name, part in parts.items() if part is not None} == recorded["parts"]
    assert count(model) == recorded["parameters"]

    cost = profile_model(model, SIZES[decoder])
    assert cost.macs == official.macs()[f"{decoder}_L{level}"]["total"]
