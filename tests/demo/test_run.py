import pytest
from gpvit.demo.experiments.run import open_run, remove_runs

LOG = """epoch,step,train/loss,val/loss,val/miou
0,19,,2.3,0.1
0,19,2.25,,
1,39,,1.2,0.4
1,39,1.5,,
2,59,1.25,,
"""


def test_a_run_is_read_by_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text(LOG)
    (tmp_path / "config.yaml").write_text(
        "{model: {init_args: {name: x}}, data: {init_args: {seed: 1}}, trainer: {max_epochs: 3}}"
    )
    run = open_run(tmp_path, {"seconds": 2})
    assert run.curves["train/loss"] == {1: 2.25, 2: 1.5, 3: 1.25}
    assert run.curves["val/loss"] == {1: 2.3, 2: 1.2}
    assert run.curves["val/miou"] == {1: 0.1, 2: 0.4}
    assert (run.epochs, run.steps, run.seconds, run.task["name"], run.data["seed"]) == (3, 60, 2, "x", 1)
    assert run.weights == tmp_path / "last.safetensors"


def test_earlier_runs_are_removed(tmp_path):
    run, empty, missing = (tmp_path / name for name in ("run", "empty", "missing"))
    run.mkdir()
    empty.mkdir()
    (run / "config.yaml").touch()
    (run / "last.ckpt").touch()
    remove_runs([run, empty, missing])
    assert not run.exists()


def test_what_is_no_run_is_left_alone_and_so_are_the_others(tmp_path):
    run, own = tmp_path / "run", tmp_path / "own"
    for folder, name in ((run, "config.yaml"), (own, "thesis.txt")):
        folder.mkdir()
        (folder / name).touch()
    with pytest.raises(ValueError, match="own holds files that are no earlier run"):
        remove_runs([run, own])
    assert (run / "config.yaml").is_file()
    assert (own / "thesis.txt").is_file()
