import csv

import pytest
from PIL import Image

from gpvit.cli import main


def test_figure_5_is_drawn_and_its_numbers_written(tmp_path, capsys):
    assert main(["figure", "5", "--quick", "--out", str(tmp_path)]) == 0
    paths = [tmp_path / f"figure_5.{ending}" for ending in ("md", "csv", "png", "svg")]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    text = capsys.readouterr().out
    assert all(str(path) in text for path in paths)
    with paths[1].open(newline="") as file:
        assert [row["side"] for row in csv.DictReader(file)] == ["64", "128"]
    with Image.open(paths[2]) as picture:
        assert min(picture.size) > 500


def test_figure_6_is_drawn_of_given_models_and_images(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (48, 32), "teal").save(tmp_path / name)
    images = f"{tmp_path / 'a.png'},{tmp_path / 'b.png'}"
    arguments = ["figure", "6", "gpvit_nano", "--images", images, "--size", "32", "--out", str(tmp_path / "results")]
    assert main(arguments) == 0
    svg = (tmp_path / "results" / "figure_6.svg").read_text()
    assert svg.startswith("<?xml")
    assert str(tmp_path / "results" / "figure_6.png") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["4"], "no figure 4; choose 5 or 6"),
        (["5", "gpvit_nano", "--size", "64"], "leave out models, --size"),
        (["6", "gpvit_nano", "--images", "nowhere.png"], "nowhere.png"),
    ],
)
def test_bad_input_is_told(arguments, message, tmp_path, capsys):
    assert main(["figure", *arguments, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
