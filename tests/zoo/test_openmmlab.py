"""Files that somebody trained by the authors' code: wrapped, averaged, of other classes, sizes and channels."""

import shlex
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from golden import official

import gpvit
from gpvit.errors import UserError
from gpvit.zoo.hub import convert_file
from gpvit.zoo.openmmlab import inputs_of

CONFIG = """
model = dict(type='ImageClassifier', backbone=dict(type='GPViT', norm_cfg=norm))
img_norm_cfg = dict(
    mean=[127.5, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type='Normalize', mean=[127.5, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    dict(type='RandomErasing', fill_color=[103.53, 116.28, 123.675], fill_std=[57.375, 57.12, 58.395])]
"""


def trained(path, system="cls_L1", meta=None, weights=None, **beside):
    """Write what mmcv's runner writes."""
    content = {"meta": meta or {}, "state_dict": official.state_dict(system) | (weights or {}), **beside}
    torch.save({**content, "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(1e-3)}]}}, path)
    return path


def converted(path, **kwargs):
    convert_file(path, path.with_suffix(".safetensors"), **kwargs)
    return gpvit.load(path.with_suffix(".safetensors"))


def test_a_classifier_of_mmcls(tmp_path, capsys):
    weights = {
        "head.fc.weight": torch.randn(3, 216),
        "head.fc.bias": torch.randn(3),
        "backbone.pos_embed": torch.randn(1, 144, 216),
        "backbone.patch_embed.stem.0.weight": torch.randn(64, 4, 7, 7),
    }
    copies = {f"ema_{name.replace('.', '_')}": tensor + 1 for name, tensor in weights.items()}
    meta = {
        "CLASSES": ("cat", "dog", "cow"),
        "config": CONFIG,
        "hook_msgs": {"best_score": np.float64(0.5), "curve": np.arange(3.0)},
    }
    wrapped = {f"module.{n}": t for n, t in {**official.state_dict("cls_L1"), **weights, **copies}.items()}
    path = tmp_path / "latest.pth"
    torch.save({"meta": meta, "state_dict": wrapped}, path)
    model = converted(path)
    assert torch.equal(model.head.weight, weights["head.fc.weight"])
    assert torch.equal(model.stem.first.conv.weight, weights["backbone.patch_embed.stem.0.weight"])
    assert (model.in_chans, model.num_classes, model.img_size) == (4, 3, (96, 96))
    assert model.pretrained_cfg["label_names"] == ["cat", "dog", "cow"]
    told = capsys.readouterr().err
    assert "left out: 4 entries ema_*" in told
    assert "left out: mean of 3 in the file's meta, for 4" in told


def test_a_segmenter_of_mmengine_whose_file_holds_averages(tmp_path):
    weights = {"decode_head.conv_seg.weight": torch.randn(2, 256, 1, 1), "decode_head.conv_seg.bias": torch.randn(2)}
    meta = {"dataset_meta": {"classes": ["road", "else"], "palette": [[1, 2, 3], [4, 5, 6]]}, "cfg": CONFIG}
    raw = {"steps": torch.tensor(3), "module.backbone.pos_embed": torch.zeros(1)}
    model = converted(trained(tmp_path / "iter_9.pth", "segformer_L1", meta, weights, ema_state_dict=raw))
    assert model.pretrained_cfg["label_colors"] == [[1, 2, 3], [4, 5, 6]]
    assert gpvit.Predictor(model).class_names == ("road", "else")
    assert model.pretrained_cfg["mean"] == [0.5, 0.456, 0.406]


def test_a_detector_normalises_as_it_was_trained_to(tmp_path, capsys):
    path = trained(tmp_path / "epoch_12.pth", "retinanet_L1", {"CLASSES": ("a", "b"), "config": CONFIG})
    for model in (converted(path), gpvit.create_model("retinanet_gpvit_l1", weights=path)):
        assert model.transform.image_mean == [0.5, 0.456, 0.406]
        assert list(model.pretrained_cfg["mean"]) == [0.5, 0.456, 0.406]
    assert "left out: label_names of 2 in the file's meta, for 80" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (None, {}),
        ({"CLASSES": None, "config": "not python ("}, {}),
        ({"CLASSES": "cat", "config": 5}, {}),
        ({"CLASSES": ["cat", 5]}, {}),
        ({"CLASSES": ["tench, Tinca tinca"] + ["x"] * 999}, {}),  # ImageNet's are here
        ({"CLASSES": ["person"], "PALETTE": "random"}, {"label_names": ["person"]}),
        ({"CLASSES": ["a"], "PALETTE": np.array([[1, 2, 3]])}, {"label_names": ["a"], "label_colors": [[1, 2, 3]]}),
        ({"config": "a = dict(mean=m, std=s)\nb = dict(mean=[0, 1], std=[1, 'x'])"}, {}),
        ({"config": CONFIG + CONFIG.replace("127.5", "0")}, {}),  # two ways
        ({"cfg": "d = dict(mean=[0.0], std=[255.0], bgr_to_rgb=False)"}, {"mean": [0.0], "std": [1.0]}),
    ],
)
def test_only_what_is_plain_is_told(meta, expected):
    assert inputs_of({"meta": meta}) == expected


def test_images_of_another_order_are_refused(tmp_path):
    meta = {"config": CONFIG.replace("to_rgb=True", "to_rgb=False")}
    with pytest.raises(UserError, match=r"bgr\.pth is of a network for images in the order blue, green, red"):
        converted(trained(tmp_path / "bgr.pth", meta=meta))


def test_objects_that_could_run_code_are_named_with_the_way_out(tmp_path, monkeypatch):
    history = type("HistoryBuffer", (), {"__module__": "mmengine.logging.history_buffer"})
    for name in ("mmengine", "mmengine.logging", "mmengine.logging.history_buffer"):
        monkeypatch.setitem(sys.modules, name, module := ModuleType(name))
    module.HistoryBuffer = history
    path = trained(tmp_path / "x.pth", meta={"epoch": 3}, message_hub={"loss": history()})
    with pytest.raises(UserError, match=r"HistoryBuffer, and is not opened further.*python -c") as refused:
        converted(path)
    monkeypatch.chdir(tmp_path)
    exec(shlex.split(str(refused.value).partition("python -c ")[2])[0], {})
    assert converted(tmp_path / "plain.pth").num_classes == 1000
