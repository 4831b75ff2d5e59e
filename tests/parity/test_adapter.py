"""The adapter of the authors' detectors against outputs, names and counts of their code, recorded in tests/golden."""

import re

import numpy as np
import pytest
import torch
from golden import fill, official

from gpvit.models.adapter import ViTAdapter
from gpvit.models.backbone import GPViT
from gpvit.models.variants import VARIANTS
from gpvit.zoo.official import convert_with_backbone, rename_in_adapter

SYSTEMS = {"maskrcnn": 4, "retinanet": 3}  # number of outputs
LEVELS = (1, 2, 3, 4)
TOLERANCE = 1e-5  # of the largest absolute value


def convert_adapter(state_dict):
    return convert_with_backbone(state_dict, "backbone.", rename_in_adapter)


def build(system: str, level: int) -> ViTAdapter:
    return ViTAdapter(GPViT(**VARIANTS[f"gpvit_l{level}"]), num_outputs=SYSTEMS[system])


def of_backbone(entries: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in entries.items() if name.startswith("backbone.")}


@torch.no_grad()
def compute(system: str) -> dict[str, torch.Tensor]:
    """Everything that is recorded, in the layout of the record."""
    model = build(system, 1).eval()
    model.load_state_dict(convert_adapter(of_backbone(official.state_dict(f"{system}_L1"))))
    seen = {}

    def watch(module: torch.nn.Module, *names: str) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: seen.update(dict.fromkeys(names, output)))

    for i, injector in enumerate(model.injectors):
        watch(injector, f"injector{i}_x")
        watch(injector.attn, f"injattn{i}")
        watch(model.backbone.blocks[model.stages[i][-1]], f"inter{i}_x")
        watch(model.extractors[i], f"extractor{i}_c", f"inter{i}_c")
    watch(model.extractors[-1], "inter3_c")
    watch(model.spatial_prior, "spm")
    outputs = model(torch.from_numpy(fill.image("det", (1, 3, 256, 320))))

    for i, output in enumerate(outputs):
        seen[f"f{i + 5 - len(outputs)}"] = output
    for i, (stride, prior) in enumerate(seen.pop("spm").items()):
        seen[f"spm{i}"] = prior if stride == 4 else prior.flatten(2).transpose(1, 2)
    return {name: tensor.flatten(1, 2) if re.match(r"inter\d_x", name) else tensor for name, tensor in seen.items()}


def thinned(array: np.ndarray, marks: str) -> np.ndarray:
    """Take of an array what the marks in a recorded name say was kept."""
    steps = {mark: int(step) for mark, step in re.findall(r"_(tok|hw|c)(\d+)", marks)}
    if "tok" in steps:
        return array[:, :: steps["tok"], :: steps["c"]]
    return array[:, :: steps["c"], :: steps["hw"], :: steps["hw"]]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_recorded_output_is_met(system):
    computed, met = compute(system), set()
    for name, expected in official.outputs(f"{system}_L1_adapter").items():
        if name == "input_digest":
            assert fill.digest(fill.image("det", (1, 3, 256, 320))) == expected
            continue
        what, marks = re.fullmatch(r"([a-z]+\d(?:_[xc](?=_))?)(.*)", name).groups()
        output = computed[what].numpy()
        actual = fill.summary(output) if marks == "_summary" else thinned(output, marks)
        assert actual.shape == expected.shape, name
        error = np.abs(actual - expected).max() / np.abs(expected).max()
        assert error < TOLERANCE, f"{name}: off by {error:.1e} of the largest value"
        met.add(what)
    assert met == computed.keys()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_names_shapes_types_and_count_are_the_models(system, level):
    converted = convert_adapter(of_backbone(official.meta_state_dict(f"{system}_L{level}")))
    with torch.device("meta"):
        model = build(system, level)
    own = model.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in converted.items()} == {n: (t.shape, t.dtype) for n, t in own.items()}
    recorded = official.parameter_counts()[system][f"L{level}"]["parts"]["backbone"]
    assert sum(p.numel() for p in model.parameters()) == recorded


@pytest.mark.parametrize("system", SYSTEMS)
def test_conversion_takes_every_value_once(system):
    start, given = 0, {}
    for name, tensor in of_backbone(official.meta_state_dict(f"{system}_L1")).items():
        given[name] = torch.arange(start, start + tensor.numel(), dtype=torch.int32).reshape(tensor.shape)
        start += tensor.numel()
    values = torch.cat([t.flatten() for t in convert_adapter(given).values()])
    assert torch.equal(values.sort().values, torch.arange(start, dtype=torch.int32))


def test_an_entry_without_counterpart_is_named():
    given = of_backbone(official.meta_state_dict("maskrcnn_L1"))
    unknown = {"backbone.spm.more.weight": torch.zeros(1), "backbone.interactions.0.injector.other": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"no counterpart for backbone\.spm\.more.*injector\.other"):
        convert_adapter(given | unknown)
