import pytest
import torch
from golden import official

import gpvit
from gpvit.cli import main
from gpvit.zoo.files import read_checkpoint
from gpvit.zoo.official import convert_official


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return official.checkpoint("cls_L1", tmp_path_factory.mktemp("official") / "official.pth")


def rewritten(checkpoint, path, change):
    content = torch.load(checkpoint, weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)
    return str(path)


def test_every_weight_arrives_and_the_file_needs_nothing_else(checkpoint, tmp_path, capsys):
    out = tmp_path / "new" / "l1.safetensors"
    assert main(["convert", str(checkpoint), str(out)]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in (str(out), "gpvit_l1", "9,589,848 parameters", "1000 classes"))
    loaded = gpvit.load(out).state_dict()
    expected = convert_official(official.state_dict("cls_L1"))
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert list(out.parent.iterdir()) == [out]


def test_nothing_is_written_over_unless_forced(checkpoint, tmp_path, capsys):
    out = tmp_path / "l1.safetensors"
    out.write_text("precious")
    assert main(["convert", str(checkpoint), str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main(["convert", str(checkpoint), str(out), "--force", "--model", "gpvit_l1"]) == 0
    assert read_checkpoint(out).name == "gpvit_l1"


def test_another_size_and_number_of_classes_stay_as_they_are(checkpoint, tmp_path):
    def change(state_dict):
        state_dict["backbone.pos_embed"] = torch.randn(1, 144, 216)
        state_dict["head.fc.weight"], state_dict["head.fc.bias"] = torch.randn(7, 216), torch.randn(7)

    path = rewritten(checkpoint, tmp_path / "other.pth", change)
    assert main(["convert", path, str(tmp_path / "out.safetensors")]) == 0
    model = gpvit.load(tmp_path / "out.safetensors")
    pos_embed = torch.load(path, weights_only=True)["state_dict"]["backbone.pos_embed"]
    assert torch.equal(model.pos_embed.flatten(1, 2), pos_embed)
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("backbone.layers.3.norm1.weight"), "missing: blocks.3."),
        (lambda weights: weights.update({"backbone.extra": torch.zeros(1)}), "backbone.extra"),
        (lambda weights: weights.update({"head.fc.bias": torch.zeros(9)}), "size mismatch: head.bias"),
        (lambda weights: weights.update({"backbone.pos_embed": torch.zeros(1, 784, 222)}), "222 channels"),
        (lambda weights: weights.pop("backbone.patch_embed.projection.weight"), "does not fit GPViT"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_written(checkpoint, tmp_path, change, message, capsys):
    path = rewritten(checkpoint, tmp_path / "broken.pth", change)
    assert main(["convert", path, str(tmp_path / "out.safetensors")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_wrong_files_and_names_are_told(checkpoint, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    for arguments, message in (
        ([tmp_path / "absent.pth", out], "absent.pth"),
        ([checkpoint, tmp_path / "out.bin"], "safetensors"),
        ([checkpoint, out, "--model", "gpvit_l2"], "size mismatch"),
        ([checkpoint, out, "--model", "gpvit_l11"], "gpvit_l1"),
    ):
        assert main(["convert", *map(str, arguments)]) == 1
        assert message in capsys.readouterr().err
    assert main(["convert", str(checkpoint), str(out)]) == 0
    assert main(["convert", str(out), str(tmp_path / "again.safetensors")]) == 1
    assert "one of ours already" in capsys.readouterr().err
