import json

import pytest

from gpvit.cli import main
from gpvit.profile.benchmark import SUITES

QUICK = ["--rounds", "1", "--warmup", "0", "--no-memory"]


def test_models_by_sizes_by_batches_are_measured_and_written(capsys, tmp_path):
    arguments = ["benchmark", "test_vit", "test_resnet", "--size", "32x32,32x64", "--batch-size", "1,2", *QUICK]
    assert main([*arguments, "--baseline", "test_vit", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert {(row["model"], row["size"], row["batch_size"]) for row in rows} == {
        (model, size, batch) for model in ("test_vit", "test_resnet") for size in ("32x32", "32x64") for batch in (1, 2)
    }
    assert all(row["baseline"] == "test_vit" and row["time_ratio"] > 0 for row in rows)
    text = capsys.readouterr().out
    assert "32x64, batch 2, forward, eager, float32, cpu" in text
    assert str(tmp_path / "benchmark.csv") in text


def test_settings_reach_the_measurement(tmp_path):
    options = ["--size", "32", "--mode", "train", "--dtype", "bfloat16", "--batch-size", "2"]
    assert main(["benchmark", "test_vit", *options, *QUICK, "--out", str(tmp_path)]) == 0
    (row,) = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert (row["mode"], row["dtype"], row["features"], row["compiled"]) == ("train", "bfloat16", False, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one model"),
        (["--suite", "fields"], "there is field"),
        (["test_resnet", "--suite", "field"], "leave out models"),
        (["--suite", "field", "--size", "64", "--compile"], "leave out --size, --compile"),
        (["--suite", "field", "--batch-size", "64"], "leave out --batch-size"),
        (["test_resnet", "--device", "toaster"], "choose 'cpu'"),
        (["test_resnet", "--batch-size", "many"], "separated by commas"),
        (["test_resnet", "--baseline", "test_vit"], "add it to the models"),
    ],
)
def test_bad_input_is_told(arguments, message, capsys):
    assert main(["benchmark", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_every_suite_is_named_when_nothing_is_given(capsys):
    main(["benchmark"])
    error = capsys.readouterr().err
    assert all(name in error for name in SUITES)
