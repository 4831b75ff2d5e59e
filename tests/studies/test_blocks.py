import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import nn

import gpvit
from studies.blocks import ConvPropagationBlock, GlobalBlock, IsolatedBlock, ShiftedWindows, WindowBlock

DIM, HEADS = 24, 4


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.double().eval()


def tokens(*grid: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, *grid, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def take_over(theirs: nn.Module, block: nn.Module, names: dict[str, str]) -> None:
    """Give a block of timm's the parameters of ours."""
    state = {}
    for name, tensor in block.state_dict().items():
        for ours, other in names.items():
            if name.startswith(ours):
                state[name.replace(ours, other, 1)] = tensor
    theirs.load_state_dict(state, strict=False)
    assert set(state) == {name for name, _ in theirs.named_parameters()}


@pytest.mark.parametrize("shift", [0, 2])
def test_windows_are_those_of_the_swin_transformer(shift):
    block = randomised(WindowBlock(DIM, HEADS, window=4, shift=shift, dwconv=False))
    theirs = SwinTransformerBlock(DIM, (8, 12), HEADS, window_size=4, shift_size=shift).double().eval()
    names = {"norm.": "norm1.", "attn.attn.": "attn.", "mlp.norm.": "norm2.", "mlp.fc": "mlp.fc"}
    take_over(theirs, block, names)
    theirs.norm1.eps = theirs.norm2.eps = 1e-6
    torch.testing.assert_close(block(tokens(8, 12)), theirs(tokens(8, 12)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shift", "rows"), [(0, range(4, 8)), (2, range(2, 6))])
def test_no_token_sees_beyond_its_window(shift, rows):
    layer = randomised(ShiftedWindows(DIM, HEADS, 4, shift))
    x = tokens(9, 10, batch=1)  # no whole number of windows
    changed = x.clone()
    changed[0, 5, 5] += 1
    touched = ((layer(changed) - layer(x)).abs() > 1e-12).any(-1)[0]
    expected = torch.zeros(9, 10, dtype=torch.bool)
    expected[rows.start : rows.stop, rows.start : rows.stop] = True
    assert torch.equal(touched, expected)


def test_ends_that_the_shift_brings_together_do_not_see_each_other():
    layer = randomised(ShiftedWindows(DIM, HEADS, 4, 2))
    x = tokens(8, 8, batch=1)
    changed = x.clone()
    changed[0, 0, 0] += 1
    touched = ((layer(changed) - layer(x)).abs() > 1e-9).any(-1)[0]
    assert touched[:2, :2].all()
    assert touched.sum() == 4


def test_global_block_is_timms():
    block = randomised(GlobalBlock(DIM, HEADS, dwconv=False))
    theirs = Block(DIM, HEADS, qkv_bias=True).double().eval()
    take_over(theirs, block, {"norm.": "norm1.", "attn.attn.": "attn.", "mlp.norm.": "norm2.", "mlp.fc": "mlp.fc"})
    theirs.norm1.eps = theirs.norm2.eps = 1e-6
    x = tokens(3, 5)
    torch.testing.assert_close(block(x), theirs(x.flatten(1, 2)).view_as(x), rtol=1e-9, atol=1e-9)


def test_convolutions_are_their_formula_and_start_as_nothing():
    x = tokens(5, 7)
    assert torch.equal(ConvPropagationBlock(DIM).double()(x), x)
    block = randomised(ConvPropagationBlock(DIM))
    y = x
    for conv, norm, last in ((block.conv1, block.norm1, False), (block.conv2, block.norm2, True)):
        y = F.conv2d(y.permute(0, 3, 1, 2), conv.weight, padding=1).permute(0, 2, 3, 1)
        y = F.layer_norm(y, (DIM,), norm.weight, norm.bias, eps=1e-6)
        y = y if last else F.gelu(y)
    torch.testing.assert_close(block(x), x + y, rtol=1e-9, atol=1e-9)


def test_isolated_tokens_meet_in_the_convolution_only():
    block = randomised(IsolatedBlock(DIM))
    x = tokens(5, 5, batch=1)
    changed = x.clone()
    changed[0, 2, 2] += 1
    touched = ((block(changed) - block(x)).abs() > 1e-12).any(-1)
    assert touched.sum() == 9


@pytest.mark.parametrize("kind", ["window", "global", "conv", "isolated"])
def test_every_kind_learns_on_odd_grids(kind):
    own = {"num_heads": HEADS} if kind in ("window", "global") else {}
    model = gpvit.GPViT(blocks=[{"kind": kind, **own}] * 2, embed_dim=DIM, pool_heads=2, num_classes=5)
    logits = model(torch.rand(2, 3, 72, 104))  # 9 x 13 tokens
    logits.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_impossible_arguments_are_named():
    with pytest.raises(ValueError, match="num_heads must divide dim=24; got 5"):
        WindowBlock(DIM, 5)
    with pytest.raises(ValueError, match="num_heads must divide dim=24; got 5"):
        GlobalBlock(DIM, 5)
    with pytest.raises(ValueError, match="shift must be from 0 to 6, less than the window; got 7"):
        WindowBlock(DIM, HEADS, shift=7)
