import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpvit.layers.group_propagation import GroupPropagationBlock

DIM, GROUPS, HEADS = 24, 5, 6


@pytest.fixture
def block() -> GroupPropagationBlock:
    block = GroupPropagationBlock(DIM, GROUPS, HEADS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in block.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return block.double().eval()


def linear(module: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return x @ module.weight.T + module.bias


def normalised(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


def mlp(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return linear(module.fc2, F.gelu(linear(module.fc1, x)))


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    answers, weights = [], []
    for q, k, v in zip(*(t.chunk(HEADS, dim=-1) for t in (query, key, value)), strict=True):
        weights.append((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1))
        answers.append(weights[-1] @ v)
    return torch.cat(answers, dim=-1), torch.stack(weights, dim=1)


def by_the_formulas(block: GroupPropagationBlock, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The released code's arithmetic, one line a step: tokens, grouping and ungrouping attention."""
    batch, height, width, _ = x.shape
    tokens = x.flatten(1, 2)
    keys = normalised(block.grouping.norm_key, tokens)
    queries = normalised(block.grouping.norm_query, block.group_tokens).expand(batch, -1, -1)
    groups, grouping = attention(queries, linear(block.grouping.key, keys), keys)

    mixer = block.mixer
    groups = groups + mlp(mixer.mix_groups, normalised(mixer.norm, groups).mT).mT
    groups = groups + mlp(mixer.mix_channels, normalised(mixer.mix_channels.norm, groups))

    un = block.ungrouping
    keys = normalised(un.norm_key, groups)
    queries = linear(un.query, normalised(un.norm_query, tokens))
    answer, ungrouping = attention(queries, linear(un.key, keys), linear(un.value, keys))
    y = linear(un.merge, torch.cat([tokens, linear(un.proj, answer)], dim=-1))
    y = y + mlp(block.mlp, normalised(block.mlp.norm, y))

    y = y.unflatten(1, (height, width)).permute(0, 3, 1, 2)
    y = F.conv2d(y, block.dwconv.conv.weight, padding=1, groups=DIM).permute(0, 2, 3, 1)
    norm = block.dwconv.norm
    y = (y - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
    return y.clamp(min=0), grouping, ungrouping


@pytest.mark.parametrize("grid", [(1, 1), (4, 6), (7, 3)])
def test_block_and_maps_are_the_formulas(block, grid):
    x = torch.randn(2, *grid, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected, grouping, ungrouping = by_the_formulas(block, x)
    y, maps = block.forward_with_maps(x)
    for output in (block(x), y):
        torch.testing.assert_close(output, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(maps.grouping.flatten(3), grouping, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(maps.ungrouping.flatten(3), ungrouping.mT, rtol=1e-9, atol=1e-12)


def test_maps_are_shares(block):
    _, maps = block.forward_with_maps(torch.randn(2, 4, 6, DIM, dtype=torch.float64))
    assert maps.grouping.shape == maps.ungrouping.shape == (2, HEADS, GROUPS, 4, 6)
    ones = torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(maps.grouping.sum(dim=(-2, -1)), ones.expand(2, HEADS, GROUPS))
    torch.testing.assert_close(maps.ungrouping.sum(dim=2), ones.expand(2, HEADS, 4, 6))
    assert min(maps.grouping.min(), maps.ungrouping.min()) >= 0


def test_one_changed_token_reaches_every_other(block):
    torch.nn.init.constant_(block.dwconv.norm.bias, 100.0)  # the ReLU hides nothing
    x = torch.randn(1, 8, 8, DIM, dtype=torch.float64)
    changed = x.clone()
    changed[0, 0, 0] = -changed[0, 0, 0]
    assert ((block(changed) - block(x)).abs().amax(-1) > 1e-9).all()


def test_input_is_left_as_it_was(block):
    x = torch.randn(1, 4, 4, DIM, dtype=torch.float64)
    before = x.clone()
    block(x)
    assert torch.equal(x, before)


def test_every_parameter_learns(block):
    block.train()(torch.randn(2, 4, 6, DIM, dtype=torch.float64)).square().sum().backward()
    assert [name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="num_heads must divide dim=24; got 5"):
        GroupPropagationBlock(24, 4, num_heads=5)


@pytest.mark.parametrize("propagation", ["attention", "none"])
def test_propagation_can_be_another(propagation):
    block = GroupPropagationBlock(DIM, GROUPS, HEADS, propagation=propagation).eval()
    groups = torch.randn(1, GROUPS, DIM)
    changed = groups.clone()
    changed[0, 0] += torch.randn(DIM)
    touched = ((block.mixer(changed) - block.mixer(groups)).abs() > 1e-6).any(-1)[0].tolist()
    assert touched == ([True] * GROUPS if propagation == "attention" else [True] + [False] * (GROUPS - 1))
    assert block(torch.randn(1, 4, 6, DIM)).shape == (1, 4, 6, DIM)


def test_without_fusion_and_convolution_the_answer_is_added():
    block = GroupPropagationBlock(DIM, GROUPS, HEADS, fusion="residual", dwconv=False).eval()
    torch.nn.init.zeros_(block.ungrouping.proj.weight)
    torch.nn.init.zeros_(block.ungrouping.proj.bias)
    x = torch.randn(2, 4, 6, DIM)
    torch.testing.assert_close(block(x), block.mlp(x))  # an answer of zero changes nothing
    assert {name.split(".")[0] for name, _ in block.named_parameters()}.isdisjoint({"dwconv"})


def test_the_convolution_can_stand_alone_as_in_the_paper():
    block = GroupPropagationBlock(DIM, GROUPS, HEADS, conv_norm=False).eval()
    bare = GroupPropagationBlock(DIM, GROUPS, HEADS, dwconv=False).eval()
    missing, unexpected = bare.load_state_dict(block.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["dwconv.weight"])
    x = torch.randn(2, 4, 6, DIM)
    expected = F.conv2d(bare(x).permute(0, 3, 1, 2), block.dwconv.weight, padding=1, groups=DIM).permute(0, 2, 3, 1)
    torch.testing.assert_close(block(x), expected)
    assert block(x).min() < 0


@pytest.mark.parametrize("options", [{"propagation": "mlp"}, {"fusion": "sum"}])
def test_unknown_kinds_are_named(options):
    with pytest.raises(ValueError, match=r"must be one of \w+, .*; got '(mlp|sum)'"):
        GroupPropagationBlock(DIM, GROUPS, HEADS, **options)
