"""What users of timm expect of every model, on small images or without values: cheap for the paper's sizes too."""

import subprocess
import sys

import pytest
import timm
import torch
from contract.subjects import EVERY_MODEL, SMALL, build, images
from timm.data import resolve_model_data_config
from timm.optim import param_groups_layer_decay

SIZES = ((32, 32), (33, 47), (57, 91), (48, 40), (220, 220), (223, 223))


@pytest.mark.parametrize("name", EVERY_MODEL)
class TestEverySize:
    def test_forward_and_backward_reach_every_parameter(self, name):
        model = build(name, num_classes=5).train()
        logits = model(images(2, 33, 47))
        assert logits.shape == (2, 5)
        logits.square().sum().backward()
        # a query that starts as zeros passes nothing back to the key before its first step
        silent = {"pool.key.weight", "pool.norm.weight"}
        for parameter_name, parameter in model.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter_name in silent or parameter.grad.abs().sum() > 0, parameter_name

    def test_features_of_any_size_measure_an_eighth_rounded_up(self, name):
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=3).eval()
            for height, width in SIZES:
                features = model.forward_features(torch.empty(1, 3, height, width))
                assert features.shape == (1, -(-height // 8), -(-width // 8), model.num_features)
                assert model.forward_head(features).shape == (1, 3)

    def test_create_model_arguments(self, name):
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=10, in_chans=1, img_size=(64, 96), drop_rate=0.1)
            assert model(torch.empty(2, 1, 64, 96)).shape == (2, 10)
            assert model.pos_embed.shape[1:3] == (8, 12)
            assert (model.num_classes, model.in_chans, model.drop_rate) == (10, 1, 0.1)
            for pool, shape in (("avg", (2, 10)), ("attn", (2, 10)), ("", (2, 8, 12, 10))):
                other = timm.create_model(name, num_classes=10, global_pool=pool)
                assert other(torch.empty(2, 3, 64, 96)).shape == shape

    def test_drop_path_rises_linearly(self, name):
        with torch.device("meta"):
            blocks = timm.create_model(name, drop_path_rate=0.3).blocks
        for i, block in enumerate(blocks):
            rates = [m.drop_prob for m in block.modules() if hasattr(m, "drop_prob")]
            assert len(rates) >= 2
            assert rates == [pytest.approx(0.3 * i / 11)] * len(rates)

    def test_heads(self, name):
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0).eval()
            x = torch.empty(2, 3, 64, 48)
            assert model(x).shape == (2, model.num_features)
            assert isinstance(model.get_classifier(), torch.nn.Identity)
            model.reset_classifier(7)
            assert model.get_classifier() is model.head
            assert model.head.out_features == model.num_classes == 7
            features = model.forward_features(x)
            assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
            model.reset_classifier(4, global_pool="")
            assert model(x).shape == (2, 8, 6, 4)

    def test_features_only(self, name):
        with torch.device("meta"):
            model = timm.create_model(name, features_only=True).eval()
            assert model.feature_info.out_indices == (2, 5, 8, 11)
            assert model.feature_info.reduction() == [8] * 4
            channels = model.feature_info.channels()
            outputs = model(torch.empty(2, 3, 57, 91))
            assert [tuple(o.shape) for o in outputs] == [(2, c, 8, 12) for c in channels]
            last = timm.create_model(name, features_only=True, out_indices=(1, -2))
            assert last.feature_info.module_name() == ["blocks.1", "blocks.10"]
            assert len(last(torch.empty(1, 3, 64, 64))) == 2

    def test_weight_decay_and_layer_names(self, name):
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=3)
        parameters = dict(model.named_parameters())
        expected = {"pos_embed", *(f"blocks.{i}.group_tokens" for i in (1, 4, 7, 10))}
        if hasattr(model.pool, "token"):
            expected.add("pool.token")
        assert model.no_weight_decay() == expected <= parameters.keys()

        scales = {}
        for group in param_groups_layer_decay(model, layer_decay=0.75, no_weight_decay_list=model.no_weight_decay()):
            for parameter in group["params"]:
                scales[id(parameter)] = (group["lr_scale"], group["weight_decay"])
        for parameter_name, parameter in parameters.items():
            scale, decay = scales[id(parameter)]
            top, _, rest = parameter_name.partition(".")
            # as in timm's ViT: stem, twelve blocks (the last with norm and pooling), and the classifier at full rate
            layer = {"stem": 0, "pos_embed": 0, "norm": 12, "pool": 12, "head": 13}.get(top)
            layer = 1 + int(rest.split(".")[0]) if layer is None else layer
            assert scale == pytest.approx(0.75 ** (13 - layer)), parameter_name
            no_decay = parameter.ndim <= 1 or parameter_name in expected
            assert (decay == 0) == no_decay, parameter_name

    def test_pretrained_cfg_and_data_config(self, name):
        with torch.device("meta"):
            model = timm.create_model(name)
        config = timm.get_pretrained_cfg(name)
        assert (config.first_conv, config.classifier) == ("stem.first.conv", "head")
        state_dict = model.state_dict()
        assert {f"{config.first_conv}.weight", f"{config.classifier}.weight"} <= state_dict.keys()
        data = resolve_model_data_config(model)
        assert (data["input_size"], data["interpolation"], data["crop_pct"]) == ((3, 224, 224), "bicubic", 0.875)
        assert data["mean"] == pytest.approx((0.485, 0.456, 0.406))
        assert data["std"] == pytest.approx((0.229, 0.224, 0.225))
        assert name in timm.list_models("gpvit*")
        assert (f"{name}.in1k" in timm.list_models("gpvit*", pretrained=True)) == (name not in SMALL)

    def test_initialisation(self, name):
        model = build(name)
        named = dict(model.named_parameters())
        for module_name, module in model.blocks.named_modules():
            if (
                isinstance(module, torch.nn.Linear)
                and "mix_groups" not in module_name
                and module.weight.numel() > 10_000
            ):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.05), module_name
            if isinstance(module, torch.nn.Linear):
                assert module.bias.abs().max() == 0, module_name
        assert model.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)
        assert named["blocks.1.group_tokens"].std().item() == pytest.approx(0.02, rel=0.1)
        assert model.head.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert model.head.bias.abs().max() == 0
        for parameter_name, parameter in named.items():
            if "norm" in parameter_name:
                expected = 1.0 if parameter_name.endswith("weight") else 0.0
                assert (parameter == expected).all(), parameter_name
        assert named["blocks.0.attn.vertical.lepe.bias"].abs().max() > 0  # convolutions keep PyTorch's
        if hasattr(model.pool, "token"):
            assert model.pool.token.abs().max() == 0
        epsilons = {
            n: m.eps for n, m in model.named_modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.BatchNorm2d)
        }
        in_group_block = tuple(f"blocks.{i}." for i in (1, 4, 7, 10))
        for module_name, eps in epsilons.items():
            loose = module_name.startswith((*in_group_block, "pool.", "stem."))
            assert eps == (1e-5 if loose else 1e-6), module_name

    @pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 3, 31, 64), (1, 3, 64, 16), (3, 64, 64)])
    def test_wrong_images_are_refused(self, name, shape):
        with torch.device("meta"):
            model = timm.create_model(name)
            with pytest.raises(ValueError, match="expected images of"):
                model(torch.empty(shape))
            with pytest.raises(ValueError, match=r"torch\.uint8; scale to"):
                model(torch.empty(1, 3, 64, 64, dtype=torch.uint8))

    def test_group_maps_are_refused_in_training(self, name):
        with torch.device("meta"):
            model, x = timm.create_model(name), torch.empty(2, 3, 64, 48)
            assert list(model.eval().group_maps(x)) == [1, 4, 7, 10]
            with pytest.raises(ValueError, match=r"call eval\(\) first"):
                model.train().group_maps(x)


LOOKED_FOR = "import gpvit, importlib.util; importlib.util.find_spec('timm'); import timm"


@pytest.mark.parametrize(
    "order",
    [*(pytest.param(o, marks=pytest.mark.slow) for o in ("import timm, gpvit", "import gpvit, timm")), LOOKED_FOR],
)
def test_timm_knows_the_models_whichever_is_imported_first(order):
    code = (
        f"{order}; print(timm.create_model('gpvit_nano', num_classes=4)(__import__('torch').rand(1, 3, 32, 32)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.Size([1, 4])"


def test_unknown_pooling_and_block_are_refused():
    with pytest.raises(ValueError, match="global_pool must be 'attn', 'avg', 'max', 'avgmax', ''; got 'catavgmax'"):
        timm.create_model("gpvit_nano", global_pool="catavgmax")
    with pytest.raises(ValueError, match="unknown kind of block 'lokal'; choose one of local, group"):
        timm.create_model("gpvit_nano", blocks=({"kind": "lokal"},))
    for number in (True, 2.0):
        with pytest.raises(ValueError, match=f"num_heads of a block is {number}: give a whole number"):
            timm.create_model("gpvit_nano", blocks=({"kind": "group", "num_groups": 2, "num_heads": number},))
