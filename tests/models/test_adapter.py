import copy

import pytest
import timm
import torch
from torch import nn

import gpvit  # noqa: F401  timm learns the models
from gpvit.models.adapter import ViTAdapter, _centres, _resize
from gpvit.models.plain_vit import embed, run_blocks

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 4, "num_classes": 5}
BACKBONES = {
    "gpvit_nano": {},
    "vit_small_patch16_224": SMALL,
    "vit_base_patch32_clip_224": SMALL,
    "deit_small_distilled_patch16_224": SMALL,
    "vit_small_patch14_dinov2": {**SMALL, "img_size": 70},
    "vit_small_patch14_reg4_dinov2": {**SMALL, "img_size": 70},
    "vit_base_patch16_siglip_224": SMALL,
    "vit_small_patch16_dinov3": SMALL,
    "vit_small_patch16_rope_mixed_224": {**SMALL, "dynamic_img_size": True},
    "eva02_tiny_patch14_224": {**SMALL, "dynamic_img_size": True},
}
FEW = ("gpvit_nano", "vit_small_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3")
SIZES = ((64, 96), (33, 47), (1, 200), (112, 70))


def build(name: str, gamma: float = 1.0, kwargs: dict | None = None, **adapter) -> ViTAdapter:
    """Build an adapter on a small backbone; with a gamma other than zero the injectors take part."""
    torch.manual_seed(0)
    backbone = timm.create_model(name, **BACKBONES[name], **(kwargs or {}))
    blocks = ((0, 2), (3, 5), (6, 8), (9, 11)) if name == "gpvit_nano" else ((0, 0), (1, 3))
    model = ViTAdapter(backbone, blocks, **adapter)
    for injector in model.injectors:
        nn.init.constant_(injector.gamma, gamma)
    return model


def images(batch: int = 2, height: int = 64, width: int = 96, channels: int = 3) -> torch.Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize("num_outputs", [3, 4])
@pytest.mark.parametrize("name", BACKBONES)
def test_maps_measure_any_image_by_their_strides(name, num_outputs):
    model = build(name, num_outputs=num_outputs).eval()
    strides = [4, 8, 16, 32][-num_outputs:]
    assert model.feature_info.reduction() == strides
    assert model.feature_info.channels() == [model.embed_dim] * num_outputs
    for height, width in SIZES:
        maps = model(images(1, height, width))
        expected = [(1, model.embed_dim, -(-height // stride), -(-width // stride)) for stride in strides]
        assert [tuple(m.shape) for m in maps] == expected
        assert all(m.isfinite().all() for m in maps)


@pytest.mark.parametrize("name", FEW)
@torch.no_grad()
def test_images_of_a_batch_do_not_mix_and_padding_is_zeros(name):
    model = build(name).eval()
    x = images(2, 50, 75)
    together = model(x)
    for i in range(2):
        for one, both in zip(model(x[i : i + 1]), together, strict=True):
            torch.testing.assert_close(one[0], both[i], rtol=1e-4, atol=1e-5)
    for padded, both in zip(model(nn.functional.pad(x, (0, 21, 0, 14))), together, strict=True):
        torch.testing.assert_close(padded[:, :, : both.shape[2], : both.shape[3]], both, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_learns(name):
    model = build(name, drop_path_rate=0.1)
    sum(m.square().mean() for m in model(images())).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_blocks_run_as_in_the_transformer_itself(name):
    model = build(name).eval()
    x = images(2, 112, 224)
    tokens = embed(model.backbone, x)
    for stage in model.stages:
        tokens = run_blocks(model.backbone, stage, tokens)
    features = tokens.patches.unflatten(1, tokens.grid).permute(0, 3, 1, 2)
    expected = model.backbone.forward_intermediates(x, indices=1, norm=False, intermediates_only=True)[0]
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("name", FEW)
@torch.no_grad()
def test_an_untrained_adapter_leaves_its_transformer_as_it_was(name):
    model = build(name, gamma=0.0).eval()
    x = images(1, 32 * 7, 32 * 7)  # all patch sizes divide it
    seen = []
    last = model.backbone.blocks[-1]
    last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    model(x)
    model.backbone.forward_intermediates(x, indices=1, intermediates_only=True)
    torch.testing.assert_close(*seen)


@pytest.mark.parametrize("patch", [8, 14, 16, 32])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_both_sides_mean_the_same_pixels(patch, stride):
    height, width = 64, 96
    grid = (-(-height // patch), -(-width // patch))
    reach = (grid[0] * patch, grid[1] * patch)
    shape = (height // stride, width // stride)
    # Seen from the transformer's grid and seen from the pyramid, a cell's centre is the same pixel.
    x, y = (stride * (torch.arange(cells) + 0.5) for cells in (shape[1], shape[0]))
    pixels = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    places = _centres(shape, stride, reach, pixels.device).view(*shape, 2)
    torch.testing.assert_close(places * torch.tensor([reach[1], reach[0]]), pixels)
    # A grid that holds its cells' centres still holds them after resizing, but for half a patch at the border.
    centres = _centres(grid, patch, reach, pixels.device) * torch.tensor([reach[1], reach[0]])
    resized = _resize(centres.view(1, *grid, 2).permute(0, 3, 1, 2), patch, stride)[0].permute(1, 2, 0)
    resized = resized[: shape[0], : shape[1]]
    inside = ((pixels >= patch / 2) & (pixels <= torch.tensor([reach[1], reach[0]]) - patch / 2)).all(-1)
    assert inside.any() or patch == 32
    torch.testing.assert_close(resized[inside], pixels[inside])


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("name", FEW)
def test_gradient_checkpointing_saves_memory_and_changes_nothing(name, mode):
    plain = build(name, drop_path_rate=0.3, spatial_width=8).train(mode == "training")
    frugal = copy.deepcopy(plain)
    frugal.set_grad_checkpointing()
    results = []
    for model in (plain, frugal):
        own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

        def keep(tensor: torch.Tensor, own: set[int] = own, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            maps = model(images())
        torch.manual_seed(1)  # what happens between the passes must not matter
        sum(m.square().mean() for m in maps).backward()
        results.append((sum(kept.values()), maps))
    (kept, maps), (kept_frugally, maps_frugally) = results
    assert kept_frugally < 0.6 * kept
    assert all(map(torch.equal, maps, maps_frugally))
    for (parameter, p), q in zip(plain.named_parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=parameter)
    for (buffer, a), b in zip(plain.named_buffers(), frugal.buffers(), strict=True):
        assert torch.equal(a, b), buffer


@pytest.mark.parametrize("name", FEW)
def test_sixteen_bits_give_nearly_the_same(name):
    model = build(name).eval()
    expected = model(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = model(images())
    for m, e in zip(maps, expected, strict=True):
        assert (m - e).abs().max() < 0.1 * e.abs().max()
    sum(m.float().square().mean() for m in maps).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert all(m.dtype == torch.bfloat16 for m in model.bfloat16()(images().bfloat16()))


@pytest.mark.parametrize("name", FEW)
def test_images_of_other_channels(name):
    model = build(name, kwargs={"in_chans": 5}).eval()
    assert len(model(images(channels=5))) == 4
    with pytest.raises(ValueError, match=r"expected images of shape \(batch, 5, height, width\), got \(2, 3, 64, 96\)"):
        model(images())


def test_initial_parameters():
    model = build("gpvit_nano", gamma=0.0)
    assert model.level_embed.std() > 0.8
    assert not any(injector.gamma.any() for injector in model.injectors)
    for module, fan_out in ((model.spatial_prior.stem[1].conv, 9 * 64), (model.upsample, 4 * 72)):
        assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    assert not model.spatial_prior.proj["8"].bias.any()
    mlp = model.extractors[0].mlp
    assert mlp.conv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.2)
    assert mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.extractors[0].attn.value.weight.std().item() == pytest.approx((1 / 72) ** 0.5, rel=0.1)
    assert model.extractors[0].attn.offsets.bias.any()


def test_backbone_keeps_its_weights_but_loses_classifier_and_norm():
    backbone = timm.create_model("vit_small_patch16_224", **SMALL)
    before = copy.deepcopy(backbone.state_dict())
    own = ViTAdapter(backbone, ((0, 3),)).backbone.state_dict()
    assert before.keys() - own.keys() == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.items())


@pytest.mark.parametrize("name", ["gpvit_nano", "vit_small_patch14_reg4_dinov2"])
def test_what_weight_decay_spares_exists(name):
    model = build(name)
    no_decay = model.no_weight_decay()
    assert {"level_embed", "backbone.pos_embed"} < no_decay
    assert ("backbone.blocks.1.group_tokens" in no_decay) == (name == "gpvit_nano")


def other(name: str, **kwargs) -> nn.Module:
    return timm.create_model(name, **kwargs)


@pytest.mark.parametrize(
    ("backbone", "kwargs", "message"),
    [
        (lambda: other("resnet18"), {}, "expected a GPViT, or a VisionTransformer or Eva of timm .*, got ResNet"),
        (lambda: other("swin_tiny_patch4_window7_224"), {}, "got SwinTransformer"),
        (lambda: other("eva02_tiny_patch14_224", **SMALL), {}, "create it with dynamic_img_size=True"),
        (lambda: other("vit_small_patch16_224", patch_drop_rate=0.5, **SMALL), {}, "without patch_drop_rate"),
        (lambda: other("vit_small_patch16_224", patch_size=(16, 8), **SMALL), {}, "square patches, got 16x8"),
        (lambda: other("gpvit_nano"), {"num_outputs": 2}, "num_outputs must be 3 .* or 4 .*; got 2"),
        (lambda: other("gpvit_nano"), {"num_heads": 5}, "num_heads must divide dim=72; got 5"),
        (
            lambda: other("gpvit_nano"),
            {"blocks": ((0, 5), (7, 11))},
            r"end with .* block 11; got \[\[0, 5\], \[7, 11\]\]",
        ),
        (lambda: other("vit_small_patch16_224", **SMALL), {"blocks": ((0, 11),)}, "end with the backbone's block 3"),
        (lambda: other("vit_tiny_r_s16_p8_224", depth=4), {}, "got VisionTransformer with HybridEmbed"),
    ],
)
def test_what_does_not_fit_is_refused(backbone, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ViTAdapter(backbone(), **kwargs)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 64, 64), r"got \(3, 64, 64\)"),
        (torch.zeros(1, 3, 0, 64), r"got \(1, 3, 0, 64\)"),
        (torch.zeros(1, 3, 64, 64).byte(), "got torch.uint8"),
    ],
)
def test_images_that_are_none_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        build("vit_small_patch16_224")(x)


def test_a_backbone_of_full_size_takes_a_training_step():
    model = ViTAdapter(timm.create_model("vit_small_patch16_224"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sum(m.square().mean() for m in model(images())).backward()
    before = model.injectors[0].gamma.detach().clone()
    optimizer.step()
    assert not torch.equal(model.injectors[0].gamma, before)
    assert [m.shape[2:] for m in model(images(2, 40, 50))] == [(10, 13), (5, 7), (3, 4), (2, 2)]


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "gpvit_nano"])
@pytest.mark.slow
def test_compiler_sees_one_graph(name):
    model = build(name)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    x = images(2, 57, 91)
    sum(m.square().mean() for m in compiled(x)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        for a, b in zip(compiled.eval()(x), model(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpvit_nano", "vit_small_patch16_224"])
def test_exported_once_it_serves_every_batch_and_size(name):
    model = build(name).eval()
    anything = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(model, (images(2, 70, 100),), dynamic_shapes={"x": anything}).module()
    with torch.no_grad():
        for batch, height, width in ((1, 64, 64), (3, 33, 47), (2, 97, 120)):
            x = images(batch, height, width)
            for a, b in zip(exported(x), model(x), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "heads"), [("vit_large_patch16_224", 16), ("vit_small_patch16_224", 6)])
def test_defaults_fit_any_depth_and_width(name, heads):
    for depth in (1, 4, 7, 24):
        with torch.device("meta"):
            adapter = ViTAdapter(other(name, depth=depth))
        assert [i for stage in adapter.stages for i in stage] == list(range(depth))
        assert len(adapter.stages) == min(depth, 4)
        assert adapter.injectors[0].attn.num_heads == heads
