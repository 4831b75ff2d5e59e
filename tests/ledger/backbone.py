"""What the ledger says of the backbone."""

import inspect
import re

import pytest
import torch
import torch.nn.functional as F
from ledger.page import Entry, check, parameters, shape_of, tokens, truncated, zeroed
from torch import nn

from gpvit.layers.group_propagation import GroupAttention, Grouping, GroupMixer, GroupPropagationBlock, Ungrouping
from gpvit.layers.local_attention import LocalBlock
from gpvit.layers.token_block import FeedForward
from gpvit.models.backbone import GPViT
from gpvit.ops.resizing import resize_pos_embed
from gpvit.profile.cost import profile_model
from gpvit.zoo.catalog import MODELS

DIM, GROUPS, HEADS = 24, 5, 6
LEVELS = (1, 2, 3, 4)


@check("Projections of the grouping attention (Equations 1-2)")
def _(entry: Entry) -> None:
    grouping = Grouping(DIM, HEADS)
    assert {name for name, _ in grouping.named_children()} == {"norm_query", "norm_key", "key"}
    groups, x = tokens(1, GROUPS, DIM), tokens(2, 7, DIM)
    query, value = (
        norm(t).unflatten(-1, (HEADS, -1)) for norm, t in ((grouping.norm_query, groups[0]), (grouping.norm_key, x))
    )
    key = grouping.key(grouping.norm_key(x)).unflatten(-1, (HEADS, -1))
    weights = (torch.einsum("mhd,bnhd->bhmn", query, key) * (DIM // HEADS) ** -0.5).softmax(-1)
    expected = torch.einsum("bhmn,bnhd->bmhd", weights, value).flatten(2)
    torch.testing.assert_close(grouping(groups, x)[0], expected)


@check("What becomes of the group tokens")
def _(entry: Entry) -> None:
    grouping = Grouping(DIM, HEADS)
    zeroed(grouping.key)  # attention is even, whatever the group tokens are
    x = tokens(2, 7, DIM)
    gathered, _ = grouping(tokens(1, GROUPS, DIM), x)
    torch.testing.assert_close(gathered, grouping.norm_key(x).mean(1, keepdim=True).expand_as(gathered))


@check("Hidden width of the mixer over groups (Equations 3-4)")
def _(entry: Entry) -> None:
    for groups in (3, 50):
        mixer = GroupMixer(DIM, groups)
        assert mixer.mix_groups.fc1.out_features == DIM // 2
        assert mixer.mix_channels.fc1.out_features == 4 * DIM
        assert [type(module) for module in mixer.modules()].count(nn.LayerNorm) == 2
        zeroed(mixer.mix_groups, mixer.mix_channels)
        assert torch.equal(mixer(tokens(2, groups, DIM)), tokens(2, groups, DIM))  # both residual, no norm at the end
    kinds = {"attention": GroupAttention, "none": nn.Identity}
    for kind, expected in kinds.items():
        entry.says(f'"{kind}"')
        assert type(GroupPropagationBlock(DIM, GROUPS, propagation=kind).mixer) is expected


@check("How a token takes up the groups' answer")
def _(entry: Entry) -> None:
    x, groups = tokens(2, 7, DIM), tokens(2, GROUPS, DIM)
    merged, added = Ungrouping(DIM, HEADS), Ungrouping(DIM, HEADS, fusion="residual")
    assert (merged.merge.in_features, merged.merge.out_features) == (2 * DIM, DIM)
    zeroed(merged.proj, added.proj)
    torch.testing.assert_close(merged(x, groups)[0], merged.merge(torch.cat([x, torch.zeros_like(x)], -1)))
    torch.testing.assert_close(added(x, groups)[0], x)
    entry.says('fusion="residual"')


@check("End of a GP block (Equation 6)")
def _(entry: Entry) -> None:
    x = tokens(2, 4, 6, DIM)
    code = GroupPropagationBlock(DIM, GROUPS, HEADS).train()
    paper = GroupPropagationBlock(DIM, GROUPS, HEADS, conv_norm=False)
    bare = GroupPropagationBlock(DIM, GROUPS, HEADS, dwconv=False)
    for block in (code, paper):
        block.load_state_dict(bare.state_dict(), strict=False)
    inside = bare(x).permute(0, 3, 1, 2)
    assert code.dwconv.conv.bias is paper.dwconv.bias is None
    convolved = F.conv2d(inside, code.dwconv.conv.weight, padding=1, groups=DIM)
    expected = F.batch_norm(convolved, None, None, training=True).relu().permute(0, 2, 3, 1)
    torch.testing.assert_close(code(x), expected)
    assert code(x).min() == 0
    expected = F.conv2d(inside, paper.dwconv.weight, padding=1, groups=DIM).permute(0, 2, 3, 1)
    torch.testing.assert_close(paper(x), expected)
    entry.says("conv_norm=False", "dwconv=False")


@check("End of a local block")
def _(entry: Entry) -> None:
    block = LocalBlock(DIM, HEADS)
    zeroed(block.attn.proj, block.mlp.fc2)
    x = tokens(2, 4, 6, DIM)
    expected = F.conv2d(x.permute(0, 3, 1, 2), block.dwconv.weight, padding=1, groups=DIM).permute(0, 2, 3, 1)
    torch.testing.assert_close(block(x), expected)
    without = LocalBlock(DIM, HEADS, dwconv=False)
    zeroed(without.attn.proj, without.mlp.fc2)
    assert torch.equal(without(x), x)
    entry.says("dwconv=False")


@check("Epsilon of layer norms")
def _(entry: Entry) -> None:
    classifier, segmenter, detector = (shape_of(f"{kind}gpvit_l1") for kind in ("", "upernet_", "mask_rcnn_"))
    for model in (classifier, segmenter, detector):
        inside = re.compile(r"blocks\.(1|4|7|10)\.|^pool\.")
        norms = {name: module.eps for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
        assert norms == {name: 1e-5 if inside.search(name) else 1e-6 for name in norms}
        assert set(norms.values()) == {1e-5, 1e-6}
    assert "pool.norm" in {name for name, _ in classifier.named_modules()}
    assert inspect.signature(FeedForward).parameters["eps"].default == 1e-5
    entry.says("1e-5", "1e-6")


@check("Stochastic depth inside a GP block")
def _(entry: Entry) -> None:
    block = GroupPropagationBlock(DIM, GROUPS, HEADS, drop_path=0.5)
    dropped = sorted(name for name, module in block.named_modules() if hasattr(module, "drop_prob"))
    assert dropped == ["mixer.drop_path", "mixer.mix_channels.drop_path", "mlp.drop_path", "ungrouping.drop_path"]
    ungrouping = Ungrouping(DIM, HEADS, drop_path=1.0).train()
    x = tokens(2, 7, DIM)
    without_answer = ungrouping.merge(torch.cat([x, torch.zeros_like(x)], -1))
    torch.testing.assert_close(ungrouping(x, tokens(2, GROUPS, DIM))[0], without_answer)
    assert inspect.signature(GPViT).parameters["drop_path_rate"].default == 0.0


@check("Position embedding at other sizes")
def _(entry: Entry) -> None:
    assert shape_of("gpvit_l1").pos_embed.shape[1:3] == (28, 28)
    entry.says("28 x 28")
    learned = tokens(1, 28, 28, 4)
    options = {"mode": "bicubic", "align_corners": False, "antialias": False}
    expected = F.interpolate(learned.permute(0, 3, 1, 2), size=(14, 40), **options).permute(0, 2, 3, 1)
    torch.testing.assert_close(resize_pos_embed(learned, (14, 40)), expected)
    assert shape_of("gpvit_l1", img_size=320).pos_embed.shape[1:3] == (40, 40)


@check("Arguments without effect")
def _(entry: Entry) -> None:
    for name in ("num_group_forward_heads", "qkv_bias", "att_with_cp", "test_cfg"):
        entry.says(name)
        with pytest.raises(TypeError, match=name):
            GPViT(**{name: 1})


@check("MACs")
def _(entry: Entry) -> None:
    sizes = {"gpvit_l1": 224, "gpvit_l2": 224, "segformer_gpvit_l1": 512}
    costs = {name: profile_model(shape_of(name), (size, size)) for name, size in sizes.items()}
    for name, cost in costs.items():
        digits = 0 if name.startswith("segformer") else 1
        entry.says(f"{cost.macs / 1e9:.2f} G", f"{cost.macs_without_attention / 1e9:.2f} G")
        entry.says(f"{MODELS[name].published_gmacs:.{digits}f} G")
    published = {name: MODELS[name].published_gmacs for name in sizes}
    assert int(costs["gpvit_l1"].macs_without_attention / 1e8) / 10 == published["gpvit_l1"]
    assert int(costs["segformer_gpvit_l1"].macs / 1e9) == published["segformer_gpvit_l1"]
    assert published["gpvit_l2"] < costs["gpvit_l2"].macs_without_attention / 1e9 - 0.1


@check("Parameters of classifiers (Table 1)")
def _(entry: Entry) -> None:
    whole, with_pool, backbone = {}, {}, {}
    for level in LEVELS:
        model = shape_of(f"gpvit_l{level}")
        whole[level] = parameters(model)
        with_pool[level] = whole[level] - parameters(model.head)
        backbone[level] = with_pool[level] - parameters(model.pool)
        entry.says(f"{whole[level] / 1e6:.3f}", f"{backbone[level] / 1e6:.3f}")
    entry.says(f"{with_pool[2] / 1e6:.3f} M")
    meant = {1: backbone[1], 2: with_pool[2], 3: backbone[3], 4: whole[4]}
    for level, count in meant.items():
        entry.says(truncated(count, 1))
        assert MODELS[f"gpvit_l{level}"].published_params_m == float(truncated(count, 1))
    assert f"{whole[4] / 1e6:.1f}" != truncated(whole[4], 1)  # rounded, it would be another figure
