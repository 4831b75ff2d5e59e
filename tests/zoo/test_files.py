import argparse
import json
import os
import pickle
import random
import resource
from pathlib import Path

import pytest
import torch
from golden import official
from safetensors.torch import save_file
from timm.models import save_for_hf

import gpvit
from gpvit.errors import UserError
from gpvit.zoo.files import load_weights, read_checkpoint


@pytest.fixture
def nano() -> torch.nn.Module:
    torch.manual_seed(0)
    return gpvit.create_model("gpvit_nano", num_classes=3, in_chans=1, img_size=64).eval()


def test_a_file_describes_itself(nano, tmp_path):
    inputs = {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.25,), "interpolation": "bilinear", "crop_pct": 1.0}
    gpvit.save(nano, tmp_path / "deep" / "model.safetensors", class_names=["a", "b", "c"], inputs=inputs, source="here")
    model = gpvit.load(tmp_path / "deep" / "model.safetensors")
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), nano.state_dict().values(), strict=True))
    assert model.pretrained_cfg["label_names"] == ["a", "b", "c"]
    for key, value in inputs.items():
        stored = model.pretrained_cfg[key]
        assert (tuple(stored) if isinstance(value, tuple) else stored) == value
    checkpoint = read_checkpoint(tmp_path / "deep" / "model.safetensors")
    assert (checkpoint.name, checkpoint.source, checkpoint.version) == ("gpvit_nano", "here", gpvit.__version__)
    assert checkpoint.kwargs == {"num_classes": 3, "in_chans": 1, "img_size": 64, "global_pool": "attn"}


@pytest.mark.parametrize("pool", ["avg", "attn", ""])
def test_a_head_replaced_after_creation_comes_back(nano, tmp_path, pool):
    nano.reset_classifier(5, global_pool=pool)
    gpvit.save(nano, tmp_path / "model.safetensors")
    model = gpvit.load(tmp_path / "model.safetensors")
    x = torch.randn(1, 1, 64, 64)
    assert torch.equal(model(x), nano.eval()(x))


def test_what_cannot_be_saved_is_said(nano, tmp_path):
    with pytest.raises(ValueError, match=r"written as \.safetensors; got .*model\.pth"):
        gpvit.save(nano, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="2 class names for a head of 3 classes"):
        gpvit.save(nano, tmp_path / "model.safetensors", class_names=["a", "b"])
    with pytest.raises(ValueError, match=r"Linear was not made by gpvit\.create_model"):
        gpvit.save(torch.nn.Linear(1, 1), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_file_and_nothing_else(nano, tmp_path):
    path = tmp_path / "model.safetensors"
    gpvit.save(nano, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))  # as a full disk does: half is written
    try:
        with pytest.raises(OSError, match="File too large"):
            gpvit.save(nano, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_every_misfit_is_listed(nano):
    state_dict = nano.state_dict()
    misfit = {k: v for k, v in state_dict.items() if k not in ("norm.weight", "stem.first.conv.weight")}
    misfit |= {"norm.bias": torch.zeros(5), "neck.weight": torch.zeros(1), "neck.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match="some file does not fit GPViT") as caught:
        load_weights(nano, misfit, source="some file")
    for line in (
        "missing: norm.weight",
        "missing: stem.first.conv.weight",
        "unexpected: neck.weight",
        "unexpected: neck.bias",
        "size mismatch: norm.bias is (5,), the model has (72,)",
    ):
        assert f"\n  {line}\n" in str(caught.value)


def test_a_new_head_is_asked_for_by_name_and_announced(nano, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    gpvit.save(nano, path)
    with pytest.raises(
        ValueError, match=r"size mismatch: head\.weight is \(3, 72\), the model has \(7, 72\)"
    ) as caught:
        gpvit.create_model("gpvit_nano", weights=path, num_classes=7)
    assert "new_head=True" in str(caught.value)
    model = gpvit.create_model("gpvit_nano", weights=path, num_classes=7, new_head=True)
    assert "head.weight (3, 72) left out; the model's own is (7, 72)" in capsys.readouterr().err
    assert model.head.out_features == 7
    assert torch.equal(model.norm.weight, nano.norm.weight)
    assert torch.equal(model.blocks[3].attn.proj.weight, nano.blocks[3].attn.proj.weight)


def test_the_file_of_another_model_is_refused(nano, tmp_path, official_l1):
    gpvit.save(nano, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="gpvit_nano"):
        gpvit.create_model("gpvit_tiny", weights=tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"does not fit GPViT:\n(.*\n)*  missing: stem\.extra\.0\.conv\.weight"):
        gpvit.create_model("gpvit_l2", weights=official_l1)


def test_absent_truncated_and_foreign_files(nano, tmp_path, official_l1):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.safetensors"):
        gpvit.load(tmp_path / "absent.safetensors")
    gpvit.save(nano, tmp_path / "whole.safetensors")
    for whole, name in ((tmp_path / "whole.safetensors", "cut.safetensors"), (official_l1, "cut.pth")):
        content = whole.read_bytes()
        for part in (0, 10, len(content) // 2, len(content) - 1):
            (tmp_path / name).write_bytes(content[:part])
            with pytest.raises(ValueError, match=f"{name} is damaged"):
                read_checkpoint(tmp_path / name)
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not say which model it holds"):
        gpvit.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit GPViT"):
        gpvit.create_model("gpvit_nano", weights=tmp_path / "other.safetensors")
    for foreign in ({"state_dict": {"weight": 1}}, {"epoch": 3}, {}, [1, 2], torch.zeros(3)):
        torch.save(foreign, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=r"other\.pth holds no weights"):
            read_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("how", ["save_for_hf", "averaged.safetensors", "averaged.pth", "last.pth.tar", "wrapped.pth"])
def test_files_that_timm_writes_are_read_where_the_model_is_named(nano, tmp_path, how):
    weights, other = nano.state_dict(), {name: torch.zeros_like(t) for name, t in nano.state_dict().items()}
    path = tmp_path / how
    if how == "save_for_hf":
        save_for_hf(nano, path)
        path = next(each for each in path.iterdir() if each.suffix in (".safetensors", ".bin"))
    elif how == "averaged.safetensors":
        save_file(weights, path)
    elif how == "averaged.pth":
        torch.save(weights, path)
    elif how == "wrapped.pth":  # by torch.compile and DistributedDataParallel
        torch.save({f"_orig_mod.module.{name}": tensor for name, tensor in weights.items()}, path)
    else:
        arguments = argparse.Namespace(model="gpvit_nano", lr=0.1)
        content = {"epoch": 1, "arch": "gpvit_nano", "state_dict": other, "state_dict_ema": weights, "args": arguments}
        torch.save({**content, "optimizer": {"state": {}, "param_groups": []}, "version": 2, "metric": 0.5}, path)
    loaded = gpvit.create_model("gpvit_nano", weights=path, num_classes=3, in_chans=1, img_size=64)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())
    with pytest.raises(ValueError, match=r"use gpvit\.create_model\(NAME"):
        gpvit.load(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_runs_nothing(tmp_path, legacy):
    proof = tmp_path / "proof"
    content = {"meta": Payload(proof), "state_dict": {"backbone.patch_embed.projection.weight": torch.zeros(1)}}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Payload(proof)))
    for name in ("evil.pth", "bare.pth"):
        with pytest.raises(ValueError, match=f"{name} is damaged, or holds more than tensors and plain data"):
            gpvit.create_model("gpvit_l1", weights=tmp_path / name)
    assert not proof.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert proof.exists()  # the payload would have worked


def test_an_official_file_round_trips(official_l1, tmp_path):
    model = gpvit.create_model("gpvit_l1", weights=official_l1).eval()
    gpvit.save(model, tmp_path / "l1.safetensors", source="test")
    again = gpvit.load(tmp_path / "l1.safetensors")
    expected = official.outputs("cls_L1_rect")["logits"]
    with torch.no_grad():
        logits = again(official.image("rect")).numpy()
    assert abs(logits - expected).max() < 1e-5 * abs(expected).max()
    with pytest.raises(ValueError, match=r"does not say which model it holds; use gpvit\.create_model"):
        gpvit.load(official_l1)


def test_weights_fit_another_image_size(official_l1):
    model = gpvit.create_model("gpvit_l1", weights=official_l1, img_size=(256, 320)).eval()
    expected = official.outputs("cls_L1_rect")["logits"]
    with torch.no_grad():
        logits = model(official.image("rect")).numpy()
    assert abs(logits - expected).max() < 1e-5 * abs(expected).max()


def test_the_file_tells_the_size_and_channels_of_the_model(nano, tmp_path):
    gpvit.save(nano, tmp_path / "model.safetensors")
    cfg = gpvit.load(tmp_path / "model.safetensors").pretrained_cfg
    assert tuple(cfg["input_size"]) == (1, 64, 64)
    assert len(cfg["mean"]) == len(cfg["std"]) == 1


def test_weights_follow_what_the_new_model_is_asked_to_be(tmp_path):
    path = tmp_path / "model.safetensors"
    source = gpvit.create_model("gpvit_nano", num_classes=3, img_size=64).eval()
    gpvit.save(source, path)
    gray = gpvit.create_model("gpvit_nano", weights=path, in_chans=1).eval()
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(gray(x), source(x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    headless = gpvit.create_model("gpvit_nano", weights=path, num_classes=0).eval()
    assert headless(x.expand(-1, 3, -1, -1)).shape == (1, 72)
    averaged = gpvit.create_model("gpvit_nano", weights=path, global_pool="avg", new_head=True)
    assert torch.equal(averaged.head.weight, source.head.weight)
    features = gpvit.create_model("gpvit_nano", weights=path, features_only=True, out_indices=(4,)).eval()
    (expected,) = source.forward_intermediates(x.expand(-1, 3, -1, -1), [4], intermediates_only=True)
    torch.testing.assert_close(features(x.expand(-1, 3, -1, -1))[0], expected)


def test_a_missing_position_embedding_is_listed_like_any_other(nano):
    state_dict = {name: tensor for name, tensor in nano.state_dict().items() if name != "pos_embed"}
    with pytest.raises(ValueError, match="missing: pos_embed"):
        load_weights(nano, state_dict, source="x")


def test_a_file_of_a_later_version_says_so(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"gpvit": json.dumps({"version": "9.0", "surprise": 1})})
    with pytest.raises(ValueError, match=r"model\.safetensors sets 'surprise' in its metadata.* of another version"):
        read_checkpoint(path)


def test_any_existing_file_is_taken_for_a_file(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"best\.safetensors"):
        gpvit.create_model("gpvit_nano", weights=str(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_always_told_by_name(tmp_path, suffix):
    whole, damaged = tmp_path / f"whole{suffix}", tmp_path / f"damaged{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {"backbone.patch_embed.projection.weight": torch.zeros(2, 2)}}, whole)
    else:
        description = {"name": "gpvit_nano", "kwargs": {"img_size": 64}, "inputs": {"mean": [0.5]}}
        save_file({"x": torch.zeros(2)}, whole, metadata={"gpvit": json.dumps(description)})
    content, generator = whole.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(400):
        bad = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            bad[generator.randrange(len(bad))] = generator.randrange(256)
        damaged.write_bytes(bad)
        refused += refusal(damaged)
    assert refused > 100


def refusal(path: Path) -> bool:
    """Tell whether a file is refused, as it must be: by its name."""
    try:
        read_checkpoint(path)
    except UserError as error:
        return str(error).startswith(str(path)) or pytest.fail(f"not named: {error}")
    return False
