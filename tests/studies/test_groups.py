import csv

import numpy as np
import pytest
import torch

import gpvit
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.inference.groups import draw_groups
from studies.__main__ import main
from studies.group_metrics import agreement, token_truth
from studies.groups import Setting, judge, judge_model

SMALLEST = Setting(scenes=2, size=64, seeds=1)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    torch.manual_seed(0)
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=11, backbone_kwargs={"img_size": 64}).eval()
    path = tmp_path_factory.mktemp("groups") / "segmenter.safetensors"
    gpvit.save(model, path)
    return path


def test_every_block_and_attention_is_judged_by_its_own_groups(segmenter):
    model, setting = gpvit.load(segmenter), Setting(scenes=3, size=64, seeds=1)
    rows = {(row.get("block"), row["assigned"], row.get("weights")): row for row in judge_model(model, setting)}
    assert len(rows) == 4 * 2 * 2 + 2
    scenes = [digit_scene("test", index, size=(64, 64)) for index in range(3)]
    truths = [token_truth(scene.masks, 8) for scene in scenes]
    pictures = [draw_groups(model, scene.image, 64) for scene in scenes]
    for place, block in enumerate((1, 4, 7, 10)):
        for attention, attribute in (("grouping", "assignment"), ("ungrouping", "answering")):
            groups = [getattr(picture.blocks[place], attribute) for picture in pictures]
            expected = [agreement(found, truth)["ari"] for found, truth in zip(groups, truths, strict=True)]
            row = rows[block, attention, "trained"]
            assert row["ari"] == pytest.approx(100 * np.mean(expected))
            assert row["ari_error"] == pytest.approx(100 * np.std(expected, ddof=1) / np.sqrt(3))
            assert row["used"] == pytest.approx(np.mean([len(np.unique(found)) for found in groups]))


def test_weights_as_drawn_are_the_untrained_ones_of_their_seed(segmenter):
    rows = judge_model(gpvit.load(segmenter), SMALLEST)
    without = [{key: value for key, value in row.items() if key != "weights"} for row in rows]
    for trained, untrained in zip(without[:-2:2], without[1:-2:2], strict=True):
        assert trained == untrained
    other = judge_model(gpvit.load(segmenter), Setting(scenes=2, size=64, seeds=2))
    assert [row["ari"] for row in other[::2]] == [row["ari"] for row in rows[::2]]
    assert [row["ari"] for row in other[1:-2:2]] != [row["ari"] for row in rows[1:-2:2]], "a mean over two seeds"


@pytest.mark.parametrize("name", ["gpvit_nano", "retinanet_gpvit_nano"])
def test_gray_classifiers_and_detectors_are_judged_too(name):
    own = {"in_chans": 1, "img_size": 64} if name == "gpvit_nano" else {"backbone_kwargs": {"img_size": 64}}
    model = gpvit.create_model(name, num_classes=10, **own).eval()
    rows = judge_model(model, Setting(scenes=1, size=64, seeds=1))
    assert {row["block"] for row in rows if "block" in row} == {1, 4, 7, 10}
    assert all(row["ari_error"] is None for row in rows), "one scene has no spread"


def test_table_and_chart_are_written_for_each_model(segmenter, tmp_path, capsys):
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(segmenter.read_bytes())
    options = ["--scenes", "2", "--size", "64", "--seeds", "1", "--out", str(tmp_path / "results")]
    assert main(["groups", str(segmenter), str(twin), *options]) == 0
    names = ["groups.csv", "groups.md", "groups.png", "groups.svg"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == names
    with (tmp_path / "results" / "groups.csv").open() as file:
        models = {row["model"] for row in csv.DictReader(file)}
    assert models == {f"segformer_gpvit_nano ({path})" for path in (segmenter, twin)}, (
        "models of one name are told apart"
    )
    assert "--scenes 2 --size 64 --seeds 1" in (tmp_path / "results" / "groups.md").read_text()
    assert "best IoU" in (tmp_path / "results" / "groups.svg").read_text()
    assert "squares" in capsys.readouterr().out


def test_what_cannot_be_judged_is_named(tmp_path, capsys):
    with pytest.raises(ValueError, match="no checkpoint was given"):
        judge([])
    with pytest.raises(ValueError, match="gpvit_nano has no weights"):
        judge(["gpvit_nano"])
    with pytest.raises(ValueError, match="0 scenes and 3 seeds"):
        Setting(scenes=0)
    foreign = tmp_path / "foreign.safetensors"
    gpvit.save(gpvit.create_model("segformer_resnet10t", num_classes=2), foreign)
    with pytest.raises(ValueError, match=r"foreign\.safetensors: Segmenter has no group propagation"):
        judge([foreign], SMALLEST)
    assert main(["groups", str(tmp_path / "absent.safetensors"), "--out", str(tmp_path / "results")]) == 1
    assert "no checkpoint at" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
