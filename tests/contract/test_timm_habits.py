"""What timm's own tests and scripts, and those that build on timm, do with any model."""

import copy

import pytest
import timm
import torch
from contract.subjects import EVERY_MODEL, build_short, difference, images
from timm.utils import reparameterize_model
from torchvision.models.feature_extraction import create_feature_extractor

import gpvit
from gpvit.models.variants import VARIANTS, layout


@pytest.mark.parametrize("name", EVERY_MODEL)
class TestHabits:
    def test_symbolic_tracing_gives_one_graph_for_every_size(self, name):
        model = build_short(name, num_classes=5).eval()
        graph = torch.fx.symbolic_trace(model)
        for size in ((32, 32), (64, 96), (75, 130)):
            assert difference(graph(images(2, *size)), model(images(2, *size))) < 1e-5
        x = images(2, 64, 48)
        features = create_feature_extractor(model, ["blocks.1", "head"])(x)
        assert difference(features["head"], model(x)) < 1e-5
        expected = model.forward_intermediates(x, [1], output_fmt="NHWC", intermediates_only=True)[0]
        assert difference(features["blocks.1"], expected) < 1e-5
        graph.train()(x).sum().backward()
        assert all(p.grad is not None for p in graph.parameters())

    @pytest.mark.parametrize("feature_cls", ["hook", "fx", "getter"])
    def test_features_come_by_every_means_of_timm(self, name, feature_cls):
        model = build_short(name, features_only=True, feature_cls=feature_cls, out_indices=(0, 2)).eval()
        expected = build_short(name, features_only=True, out_indices=(0, 2)).eval()
        with torch.no_grad():
            for feature, reference in zip(model(images()), expected(images()), strict=True):
                feature = feature if feature_cls == "getter" else feature.permute(0, 3, 1, 2)
                assert difference(feature, reference) < 1e-5

    def test_device_and_dtype_are_arguments(self, name):
        model = timm.create_model(name, device="meta", dtype=torch.bfloat16, num_classes=3)
        assert {p.device.type for p in model.parameters()} == {"meta"}
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert model.gpvit_config == {"name": name, "kwargs": {"num_classes": 3}}

    def test_weights_are_drawn_anew_after_empty_memory(self, name):
        torch.manual_seed(0)
        expected = build_short(name, num_classes=3)
        with torch.device("meta"):
            model = build_short(name, num_classes=3)
        model.to_empty(device="cpu")
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.fill_(7)
        model.init_weights()
        for own_name, own in model.state_dict().items():
            other = expected.state_dict()[own_name].float()
            own = own.float()
            assert not (own == 7).all(), own_name
            if own.numel() > 500:
                assert own.std().item() == pytest.approx(other.std().item(), rel=0.25, abs=1e-9), own_name
            elif (other == other.flatten()[0]).all():
                assert torch.equal(own, other), own_name
        assert model(images()).isfinite().all()

    def test_input_size_is_set_once_for_all(self, name, tmp_path):
        model = gpvit.create_model(name, num_classes=3, blocks=VARIANTS[name].get("blocks", layout())[:3]).eval()
        x = images(1, 64, 96)
        expected = model(x)
        model.set_input_size((64, 96))
        assert model.img_size == (64, 96)
        assert model.pos_embed.shape[1:3] == (8, 12)
        assert model.pos_embed.requires_grad
        assert difference(model(x), expected) < 1e-5
        gpvit.save(model, tmp_path / "model.safetensors")
        assert torch.equal(gpvit.load(tmp_path / "model.safetensors")(x), model(x))

    @pytest.mark.parametrize("pool", ["max", "avgmax"])
    def test_other_poolings(self, name, pool):
        model, x = build_short(name, num_classes=0, global_pool=pool).eval(), images(2, 57, 91)
        grid = model.forward_features(x).flatten(1, 2)
        expected = grid.amax(1) if pool == "max" else (grid.amax(1) + grid.mean(1)) / 2
        assert difference(model(x), expected) < 1e-5

    def test_what_timm_says_of_it(self, name):
        config = timm.get_pretrained_cfg(name)
        with torch.device("meta"):
            model = timm.create_model(name)
            features = model.forward_features(torch.empty(1, *config.input_size))
        assert tuple(features.shape[1:3]) == tuple(config.pool_size) == (28, 28)
        assert model.num_prefix_tokens == 0
        assert name in timm.list_models(module="gpvit")
        assert all(timm.is_model(each) for each in timm.list_models("*gpvit*"))

    def test_reparameterising_changes_nothing(self, name):
        model, x = build_short(name, num_classes=3).eval(), images()
        assert torch.equal(reparameterize_model(model)(x), model(x))

    @pytest.mark.filterwarnings("ignore")
    def test_tracing_needs_no_context(self, name):
        model = build_short(name, num_classes=3).eval()
        traced = torch.jit.trace(model, images(1, 64, 64))
        for size in ((64, 64), (96, 64)):
            assert difference(traced(images(1, *size)), model(images(1, *size))) < 1e-5
        assert copy.deepcopy(model)(images()).shape == (2, 3)


@pytest.mark.slow
def test_timm_names_no_model_that_it_cannot_make():
    names = timm.list_models("*gpvit*")
    assert sorted(names) == sorted([*VARIANTS, *(f"{name}_adapter" for name in VARIANTS)])
    with torch.device("meta"):
        for name in names:
            assert timm.create_model(name, num_classes=3)(torch.empty(2, 3, 64, 96)).shape == (2, 3)
