import math

import pytest
import torch

from gpvit.ops import deformable
from gpvit.ops.deformable import deformable_sample

# batch, queries, heads, head width, points, shapes of the levels
CASES = [
    (1, 1, 1, 1, 1, [(1, 1)]),
    (2, 3, 2, 4, 3, [(4, 5)]),
    (1, 5, 3, 2, 2, [(3, 7), (1, 4)]),
    (2, 4, 1, 3, 4, [(5, 3), (2, 2), (1, 1)]),
]


def arguments(case, dtype=torch.float64) -> list[torch.Tensor]:
    """Random arguments; a part of the locations lies outside of the maps."""
    batch, queries, heads, width, points, shapes = case
    value = torch.randn(batch, sum(h * w for h, w in shapes), heads, width, dtype=dtype)
    locations = 2 * torch.rand(batch, queries, heads, len(shapes), points, 2, dtype=dtype) - 0.5
    weights = torch.randn(batch, queries, heads, len(shapes), points, dtype=dtype)
    return [value, locations, weights]


def sampled_slowly(value, shapes, locations, weights) -> torch.Tensor:
    """The definition, one sample and one neighbour after the other."""
    batch, queries, heads, levels, points, _ = locations.shape
    out = torch.zeros(batch, queries, heads, value.shape[-1], dtype=value.dtype)
    for b, q, h, level, p in torch.cartesian_prod(*map(torch.arange, (batch, queries, heads, levels, points))).tolist():
        height, width = shapes[level]
        start = sum(a * b for a, b in shapes[:level])
        x, y = (locations[b, q, h, level, p] * torch.tensor([width, height]) - 0.5).tolist()
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    share = (1 - abs(y - row)) * (1 - abs(x - column)) * weights[b, q, h, level, p]
                    out[b, q, h] += share * value[b, start + row * width + column, h]
    return out.flatten(2)


@pytest.fixture(params=["rows of a table", "rows computed again", "rows gathered"])
def way(request, monkeypatch) -> str:
    """All ways to sample; the last is that of exported graphs and of devices without an embedding bag."""
    if request.param == "rows computed again":
        monkeypatch.setattr(deformable, "FEW", 0)
    if request.param == "rows gathered":
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    return request.param


@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case, way):
    value, locations, weights = arguments(case)
    sampled = deformable_sample(value, case[-1], locations, weights)
    torch.testing.assert_close(sampled, sampled_slowly(value, case[-1], locations, weights))


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_finite_differences(case, way):
    inputs = [t.requires_grad_() for t in arguments(case)]
    assert torch.autograd.gradcheck(lambda v, *rest: deformable_sample(v, case[-1], *rest), inputs, fast_mode=True)


@pytest.mark.parametrize("place", [0.0, 0.5 / 4, 1.0, -3.0, 40.0, math.inf, -math.inf])
def test_at_and_beyond_the_border(place, way):
    value = torch.arange(1.0, 5.0).view(1, 4, 1, 1)  # a row of four cells
    at = torch.tensor([place, 0.5]).view(1, 1, 1, 1, 1, 2)
    sampled = deformable_sample(value, [(1, 4)], at, torch.ones(1, 1, 1, 1, 1)).item()
    assert sampled == {0.0: 0.5, 0.125: 1.0, 1.0: 2.0}.get(place, 0.0)


def test_a_location_that_is_not_a_number_spoils_its_own_query_alone(way):
    case = CASES[1]
    value, locations, weights = arguments(case)
    expected = deformable_sample(value, case[-1], locations, weights)
    locations[0, 1, 0, 0, 0, 0] = math.nan
    sampled = deformable_sample(value, case[-1], locations, weights)
    assert sampled[0, 1, :4].isnan().all()
    unspoilt = ~sampled.isnan()
    assert unspoilt.sum() == sampled.numel() - 4
    assert torch.equal(sampled[unspoilt], expected[unspoilt])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_sampled_in_float32(dtype):
    case = (2, 30, 2, 4, 4, [(40, 60), (20, 30)])
    value, locations, weights = arguments(case, torch.float32)
    value = value.to(dtype)
    expected = deformable_sample(value.float(), case[-1], locations, weights)
    with torch.autocast("cpu", dtype=dtype):
        sampled = deformable_sample(value, case[-1], locations, weights)
        in_float32 = deformable_sample(value.float(), case[-1], locations, weights)
    assert sampled.dtype == dtype
    assert torch.equal(sampled, expected.to(dtype))
    assert torch.equal(in_float32, expected)


def test_shapes_that_do_not_fit_are_named():
    value, locations, weights = arguments(CASES[2])
    with pytest.raises(ValueError, match=r"\[\(3, 7\)\] make 21 tokens, but value has 25"):
        deformable_sample(value, [(3, 7)], locations, weights)
    with pytest.raises(ValueError, match=r"expected locations \(B, Q, heads, 2, P, 2\)"):
        deformable_sample(value, [(3, 7), (1, 4)], locations[:, :, :, :1], weights)
    with pytest.raises(ValueError, match="expected locations"):
        deformable_sample(value, [(3, 7), (1, 4)], locations, weights[..., :1])


def test_only_the_arguments_are_kept_for_the_backward_pass(monkeypatch):
    monkeypatch.setattr(deformable, "FEW", 0)
    shapes = [(5, 7), (3, 4)]
    inputs = [t.requires_grad_() for t in arguments((2, 9, 3, 4, 4, shapes), torch.float32)]
    own = {t.untyped_storage().data_ptr() for t in inputs}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        deformable_sample(inputs[0], shapes, *inputs[1:])
    assert kept
    assert {t.untyped_storage().data_ptr() for t in kept} <= own


class Sample(torch.nn.Module):
    def forward(self, value, locations, weights):
        return deformable_sample(value, [(5, 7), (3, 4)], locations, weights)


def test_exported_once_it_serves_every_batch_and_number_of_queries():
    def given(batch, queries):
        return tuple(arguments((batch, queries, 3, 4, 4, [(5, 7), (3, 4)]), torch.float32))

    some, several = torch.export.Dim.DYNAMIC, {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    dynamic = {"value": {0: some}, "locations": several, "weights": several}
    program = torch.export.export(Sample(), given(2, 9), dynamic_shapes=dynamic)
    assert {str(node.target) for node in program.graph.nodes}.isdisjoint(
        {"aten.grid_sampler.default", "aten.embedding_bag.padding_idx"}
    )
    for batch, queries in ((1, 4), (3, 11)):
        inputs = given(batch, queries)
        torch.testing.assert_close(program.module()(*inputs), Sample()(*inputs))


def test_compiler_sees_one_graph_forward_and_backward():
    inputs = [t.requires_grad_() for t in arguments((2, 9, 3, 4, 4, [(5, 7), (3, 4)]), torch.float32)]
    results = []
    for sample in (Sample(), torch.compile(Sample(), backend="aot_eager", fullgraph=True)):
        out = sample(*inputs)
        results.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    for expected, compiled in zip(*results, strict=True):
        torch.testing.assert_close(compiled, expected)
