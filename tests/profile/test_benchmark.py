import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from rich.console import Console

from gpvit.devices import describe_machine
from gpvit.profile.benchmark import SUITES, benchmark, limit_note
from gpvit.profile.measure import Measurement
from gpvit.profile.workload import Case

IMPOSSIBLE = Case("test_resnet", (4096, 4096), 10**7)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")


@pytest.fixture(scope="module")
def report():
    cases = [
        Case(name, (32, 32), 2, mode=mode, baseline="test_vit")
        for mode in ("forward", "train")
        for name in ("test_resnet", "test_vit")
    ]
    return benchmark([*cases, IMPOSSIBLE], rounds=3, warmup=1, memory=False)


def test_figures_follow_from_the_durations(report):
    for row in report.rows[:4]:
        assert len(row["seconds"]) == row["runs"] == 3
        low, median, high = np.percentile(row["seconds"], [25, 50, 75])
        assert row["median_ms"] == pytest.approx(1e3 * median)
        assert row["iqr_ms"] == pytest.approx(1e3 * (high - low))
        assert row["images_per_second"] == pytest.approx(2 / median)


def test_ratios_are_to_the_baseline_in_the_same_setting(report):
    rows = report.rows
    for row, base in ((rows[0], rows[1]), (rows[2], rows[3])):
        assert row["mode"] == base["mode"]
        assert row["time_ratio"] == pytest.approx(row["median_ms"] / base["median_ms"])
        assert base["time_ratio"] == 1


def test_lack_of_memory_is_a_result(report):
    row = report.rows[-1]
    assert row["out_of_memory"]
    assert row["median_ms"] is row["iqr_ms"] is row["images_per_second"] is row["time_ratio"] is None


def test_files_hold_the_same_figures_and_the_machine(report, tmp_path):
    (tmp_path / "benchmark.csv").write_text("from an earlier run")
    paths = report.write(tmp_path)
    assert sorted(paths) == sorted(tmp_path.iterdir())
    with (tmp_path / "benchmark.csv").open(newline="") as file:
        records = list(csv.DictReader(file))
    document = json.loads((tmp_path / "benchmark.json").read_text())
    assert document["machine"]["torch"] == torch.__version__
    assert document["rows"] == report.rows
    for record, row in zip(records, report.rows, strict=True):
        flat = {key: value for key, value in row.items() if key not in ("seconds", "memory")}
        assert {key: record[key] for key in flat} == {k: "" if v is None else str(v) for k, v in flat.items()}
        assert (record["cpu"], record["rounds"]) == (report.machine.cpu, "3")


def test_report_prints_every_case_within_a_terminal(report):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report)
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert [text.count(word) for word in ("test_resnet", "test_vit", "out of memory")] == [3, 2, 1]
    assert all(row["setting"] in text for row in report.rows)
    for row in report.rows[:4]:
        assert f"{row['median_ms']:.1f}" in text


@linux_only
@pytest.mark.slow
def test_memory_of_a_training_step_is_measured_over_the_idle_process():
    case = Case("resnet18", (64, 64), 2, mode="train")
    parameters = sum(p.numel() for p in timm.create_model("resnet18").parameters())
    memory = case.memory()
    # Gradients and AdamW's two moments at the least; activations are small at this size.
    assert 3 * 4 * parameters < memory.added_mib * 2**20 < 6 * 4 * parameters
    assert memory.idle > 4 * parameters
    assert len(memory.seconds) == 2


def test_a_time_limit_is_told_only_of_what_it_cut_short():
    case = Case("test_vit")
    assert not limit_note([Measurement(case, 1, 60, durations=[1.0] * 3), Measurement(case, out_of_memory=True)], 2)
    for cut in (Measurement(case, 1, 60, durations=[70.0]), Measurement(case, 1, 60, durations=[30.0] * 2)):
        assert "longer than 60 s" in limit_note([cut], 2)
        assert "was not run again" in limit_note([cut], 2)


@pytest.mark.parametrize(
    ("cases", "options", "message"),
    [
        ([], {}, "nothing to measure"),
        ([Case("resnet18")], {"rounds": 0}, "rounds is 0"),
        ([Case("resnet18")], {"warmup": -1}, "warmup -1"),
        ([Case("resnet18", baseline="resnet50")], {}, "add it to the models"),
        ([Case("resnet18", baseline="resnet50"), Case("resnet50")], {"rounds": 1}, "add it to the models"),
        ([Case("resnet181")], {}, "resnet18"),
    ],
)
def test_impossible_requests_are_refused_before_anything_runs(cases, options, message):
    with pytest.raises(ValueError, match=message):
        benchmark(cases, **options)


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_models_that_exist_and_their_baselines(name, monkeypatch):
    monkeypatch.setenv("CXX", "python3")  # stands for a compiler; nothing is compiled
    for case in SUITES[name]:
        case.check()
        assert replace(case, model=case.baseline) in SUITES[name]


def test_machine_is_described():
    machine = describe_machine()
    assert machine.threads == torch.get_num_threads()
    assert machine.cores >= 1
    assert all(word in str(machine) for word in (machine.cpu, machine.torch, machine.timm))
