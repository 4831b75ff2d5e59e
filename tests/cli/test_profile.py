import json

import pytest

import gpvit
from gpvit.cli import main


def test_table_shows_parts_totals_and_the_published_figures(capsys):
    assert main(["profile", "gpvit_l1"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("blocks.11", "total", "9.590", "6.096", "5.846"))
    assert "published: 9.3 M parameters; 5.8 G MACs at 224x224, without attention's products" in text


def test_systems_are_profiled_by_part(capsys):
    assert main(["profile", "segformer_gpvit_l1", "--size", "512x512"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("backbone", "decoder", "34.497", "9.851"))
    assert "published: 9 M parameters; 34 G MACs at 512x512" in text
    assert main(["profile", "upernet_resnet18", "--size", "64"]) == 0


def test_unpublished_models_show_none(capsys):
    assert main(["profile", "resnet18", "--size", "64x96", "--depth", "2"]) == 0
    text = capsys.readouterr().out
    assert "layer1.0.conv1" in text
    assert "published" not in text


def test_json_is_json(capsys):
    assert main(["profile", "gpvit_nano", "--size", "64", "--in-chans", "1", "--batch-size", "3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["size"], record["in_chans"], record["batch_size"]) == ([64, 64], 1, 3)
    assert record["macs"] == sum(row["macs"] for row in record["rows"]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpvit_l11"], "gpvit_l1"),
        (["upernet_gpvit_l11"], "upernet_gpvit_l1"),
        (["gpvit_l1.foo"], "Invalid pretrained tag (foo)"),
        (["resnet18", "--size", "big"], "224x224"),
        (["resnet18", "--depth", "0"], "depth"),
    ],
)
def test_bad_input_is_told(arguments, message, capsys):
    assert main(["profile", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_run_folder_is_counted_as_its_model(tmp_path, capsys):
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=10), tmp_path / "run" / "best.safetensors")
    counts = {}
    for name in (str(tmp_path / "run"), "gpvit_nano"):
        assert main(["profile", name, "--json"]) == 0
        counts[name] = sum(row["parameters"] for row in json.loads(capsys.readouterr().out)["rows"])
    assert counts["gpvit_nano"] - counts[str(tmp_path / "run")] == 990 * (72 + 1)  # of the classifier
