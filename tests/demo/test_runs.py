from pathlib import Path

import pytest

from gpvit.demo.runs import Run, remove_runs

CONFIG = "data: {class: gpvit.data.detection.DigitScenes}\n"
LOG = """epoch,step,train/loss,val/miou
1,20,2.25,
2,40,1.5,0.4
"""


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_curves_skip_what_was_not_scored(tmp_path):
    (tmp_path / "metrics.csv").write_text(LOG)
    for length, axis, points in (
        ("epochs", "epoch", [(1, 2.25), (2, 1.5)]),
        ("steps", "step", [(20, 2.25), (40, 1.5)]),
    ):
        run = Run(tmp_path, {"train": {length: 2}}, {})
        assert run.axis == axis
        assert run.curve("train/loss") == points
    assert run.curve("val/miou") == [(40, 0.4)]


def test_earlier_runs_are_removed(tmp_path):
    write(tmp_path / "run", config_yaml="data: {class: Digits}\n", last_ckpt="")
    write(tmp_path / "detection", config_yaml=CONFIG, boxes_csv="")
    (tmp_path / "segmentation").mkdir()
    (tmp_path / "report.html").touch()
    remove_runs(tmp_path)
    assert everything(tmp_path) == [tmp_path / "report.html"]


@pytest.mark.parametrize(
    "files",
    [
        {"config_yaml": CONFIG, "precious_py": "x"},
        {"config_yaml": "someone's own project", "last_ckpt": ""},
        {"config_yaml": "{unreadable", "last_ckpt": ""},
        {"config_yaml": "data: {class: ImageFolder}", "last_ckpt": ""},
        {"metrics_csv": "x"},
    ],
)
def test_what_is_no_run_of_a_demo_is_left_alone_and_so_are_the_others(tmp_path, files):
    write(tmp_path / "run", config_yaml=CONFIG)
    write(tmp_path / "detection", **files)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match="detection holds files that are not of an earlier demo"):
        remove_runs(tmp_path)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["metrics.json", "report.html"])
def test_files_of_something_else_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("of a training")
    with pytest.raises(ValueError, match=f"holds {name} and no runs of an earlier demo"):
        remove_runs(tmp_path)


def test_a_file_in_place_of_a_run_is_left_alone(tmp_path):
    (tmp_path / "run").write_text("to the shop")
    with pytest.raises(ValueError, match="not of an earlier demo, such as run"):
        remove_runs(tmp_path)
