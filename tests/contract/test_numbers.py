"""What every model must compute; where all blocks would take long, the first three stand for them."""

import copy
import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
from contract.subjects import EVERY_MODEL, build, build_short, difference, images
from timm.optim import create_optimizer_v2

import gpvit


@pytest.mark.parametrize("name", EVERY_MODEL)
class TestNumbers:
    def test_a_sample_does_not_see_the_others(self, name):
        model, x = build_short(name).eval(), images(3, 33, 47)
        with torch.no_grad():
            together = model(x)
            for i in range(3):
                assert difference(model(x[i : i + 1]), together[i : i + 1]) < 1e-5
            assert difference(model(x.flip(0)), together.flip(0)) < 1e-5

    def test_a_smaller_position_embedding_is_interpolated(self, name):
        model = build_short(name, img_size=64, num_classes=3).eval()
        large = build_short(name, img_size=128, num_classes=3).eval()
        state_dict = model.state_dict()
        grid = F.interpolate(state_dict["pos_embed"].permute(0, 3, 1, 2), (16, 16), mode="bicubic").permute(0, 2, 3, 1)
        large.load_state_dict({**state_dict, "pos_embed": grid})
        x = images(1, 128, 128)
        assert difference(model(x), large(x)) < 1e-5

    @pytest.mark.parametrize("size", [(64, 48), (33, 47)])
    def test_forward_intermediates_agree_with_forward_and_with_features_only(self, name, size):
        model, x = build(name).eval(), images(2, *size)
        with torch.no_grad():
            final, maps = model.forward_intermediates(x)
            assert len(maps) == 12
            assert difference(final, model.forward_features(x)) < 1e-6
            nhwc = model.forward_intermediates(x, indices=[1, 5, -1], output_fmt="NHWC", intermediates_only=True)
            for i, feature in zip((1, 5, 11), nhwc, strict=True):
                assert difference(feature.permute(0, 3, 1, 2), maps[i]) < 1e-6
            assert difference(model.norm(nhwc[-1]), final) < 1e-6
            normed = model.forward_intermediates(x, indices=3, norm=True, intermediates_only=True)
            for i, feature in zip((9, 10, 11), normed, strict=True):
                assert difference(feature, model.norm(maps[i].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)) < 1e-6
            early, taken = model.forward_intermediates(x, indices=[3], stop_early=True)
            assert difference(taken[0], maps[3]) < 1e-6
            assert difference(early, model.norm(maps[3].permute(0, 2, 3, 1))) < 1e-6

            getter = timm.create_model(name, features_only=True, out_indices=(1, 5, 11)).eval()
            missing, unexpected = getter.model.load_state_dict(model.state_dict(), strict=False)
            assert not missing
            assert all(key.startswith(("head", "pool", "norm")) for key in unexpected)
            for i, feature in zip((1, 5, 11), getter(x), strict=True):
                reference = maps[i] if not getter.norm else model.norm(maps[i].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                assert difference(feature, reference) < 1e-5

    def test_bad_format_and_index(self, name):
        model = build_short(name)
        with pytest.raises(ValueError, match="output_fmt must be 'NCHW' or 'NHWC'; got 'NLC'"):
            model.forward_intermediates(images(), output_fmt="NLC")
        for wrong in ([12], [-13], [], 0, 13):
            with pytest.raises(ValueError, match="indices must name some of"):
                model.forward_intermediates(images(), indices=wrong)

    @pytest.mark.parametrize("prune_norm", [False, True])
    def test_pruning_keeps_the_features(self, name, prune_norm):
        model, x = build(name).eval(), images()
        expected = model.forward_intermediates(x, indices=[2, 7], intermediates_only=True)
        assert model.prune_intermediate_layers([2, 7], prune_norm=prune_norm) == [2, 7]
        assert len(model.blocks) == 8
        assert isinstance(model.norm, torch.nn.Identity) == prune_norm
        assert model.num_classes == 0
        for a, b in zip(model.forward_intermediates(x, indices=[2, 7], intermediates_only=True), expected, strict=True):
            assert difference(a, b) < 1e-6
        assert model(x).shape == (2, 8, 6, model.num_features)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_a_new_head_keeps_device_and_dtype(self, name, dtype):
        model = build_short(name).to(dtype)
        model.reset_classifier(3, global_pool="attn")
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert model(images().to(dtype)).shape == (2, 3)
        with torch.device("meta"):
            model = timm.create_model(name)
        model.reset_classifier(3, global_pool="attn")
        assert {p.device.type for p in model.parameters()} == {"meta"}

    def test_optimiser_with_layer_decay_trains(self, name):
        model = build_short(name, num_classes=3)
        optimiser = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05, layer_decay=0.75)
        x, target = images(4, 32, 32), torch.tensor([0, 1, 2, 0])
        first = None
        for _ in range(8):
            loss = F.cross_entropy(model(x), target)
            first = first or loss.item()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert loss.item() < 0.5 * first

    def test_drop_path_and_dropout_act_in_training_only(self, name):
        model, x = build_short(name, drop_path_rate=0.5, drop_rate=0.5), images()
        assert not torch.equal(model.train()(x), model(x))
        assert torch.equal(model.eval()(x), model(x))

    def test_half_precision(self, name):
        model, x = build(name, num_classes=8).eval(), images(2, 33, 47)
        with torch.no_grad():
            expected = model.forward_features(x)
            with torch.autocast("cpu", torch.bfloat16):
                assert difference(model.forward_features(x).float(), expected) < 0.1
            half = copy.deepcopy(model).bfloat16()
            features = half.forward_features(x.bfloat16())
            assert features.dtype == half(x.bfloat16()).dtype == torch.bfloat16
            assert difference(features.float(), expected) < 0.1

    def test_half_precision_training(self, name):
        model = build(name, num_classes=3)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(images()), torch.tensor([0, 1]))
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_copies_and_files_compute_the_same(self, name, tmp_path):
        model, x = build_short(name, num_classes=3).eval(), images()
        expected = model(x)
        torch.save(model.state_dict(), tmp_path / "weights.pt")
        other = build_short(name, seed=1, num_classes=3).eval()
        assert not torch.equal(other(x), expected)
        other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
        for twin in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin(x), expected)
        gpvit.save(model, tmp_path / "model.safetensors")
        assert torch.equal(gpvit.load(tmp_path / "model.safetensors")(x), expected)

    def test_state_dict_is_strict(self, name):
        model = build(name)
        state_dict = model.state_dict()
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict({k: v for k, v in state_dict.items() if k != "norm.weight"})
        with pytest.raises(RuntimeError, match="Unexpected key"):
            model.load_state_dict({**state_dict, "norm.extra": state_dict["norm.weight"]})
