import json

from gpvit.cli import main


def test_digits_are_written_once(tmp_path, capsys):
    arguments = ["shards", "digits", str(tmp_path / "out"), "--images-per-shard", "400"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: 1,297 images in 4 shards",
        "validation: 500 images in 2 shards",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.endswith("6 of 6 shards were there\n")
    assert len(json.loads((tmp_path / "out" / "_info.json").read_text())["class_names"]) == 10


def test_bad_input_is_told(tmp_path, capsys):
    assert main(["shards", str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_damaged_images_are_listed(tmp_path, capsys):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            (tmp_path / "data" / split / name / "a.png").write_bytes(b"none")
    assert main(["shards", str(tmp_path / "data"), str(tmp_path / "out"), "--max-damaged", "3"]) == 1
    assert "a.png is not an image" in capsys.readouterr().err
    assert main(["shards", str(tmp_path / "data"), str(tmp_path / "out"), "--max-damaged", "4"]) == 0
    assert capsys.readouterr().err.count("left out: ") >= 2
