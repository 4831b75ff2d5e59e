import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from rich.console import Console
from torch import nn

from gpvit.devices import describe_machine
from gpvit.profile.benchmark import SUITES, benchmark
from gpvit.profile.measurement import CaseRun
from gpvit.profile.memory import Memory, measure_memory
from gpvit.profile.workload import Case, check

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
    for measurement, row in zip(report.measurements[:4], report.rows()[:4], strict=True):
        assert len(measurement.seconds) == 3
        low, median, high = np.percentile(measurement.seconds, [25, 50, 75])
        assert row["median_ms"] == pytest.approx(1e3 * median)
        assert row["iqr_ms"] == pytest.approx(1e3 * (high - low))
        assert row["images_per_second"] == pytest.approx(2 / median)


def test_ratios_are_to_the_baseline_in_the_same_setting(report):
    rows = report.rows()
    for row, base in ((rows[0], rows[1]), (rows[2], rows[3])):
        assert row["mode"] == base["mode"]
        assert row["time_ratio"] == pytest.approx(row["median_ms"] / base["median_ms"])
        assert base["time_ratio"] == 1


def test_lack_of_memory_is_a_result(report):
    row = report.rows()[-1]
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
    for record, stored, row, measurement in zip(
        records, document["rows"], report.rows(), report.measurements, strict=True
    ):
        assert {key: stored[key] for key in row} == row
        assert {key: record[key] for key in row} == {k: "" if v is None else str(v) for k, v in row.items()}
        assert stored["seconds"] == list(measurement.seconds)
        assert (record["cpu"], record["rounds"]) == (report.machine.cpu, "3")


def test_report_prints_every_case_within_a_terminal(report):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report)
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert [text.count(word) for word in ("test_resnet", "test_vit", "out of memory")] == [3, 2, 1]
    assert all(measurement.case.setting in text for measurement in report.measurements)
    for row in report.rows()[:4]:
        assert f"{row['median_ms']:.1f}" in text


class Logged(nn.Module):
    """A model that writes its calls down and, at some call, asks for more memory than there is."""

    def __init__(self, name, calls, full_at):
        super().__init__()
        self.name, self.calls, self.full_at = name, calls, full_at

    def forward(self, x):
        self.calls.append(self.name)
        return torch.empty(10**15) if self.calls.count(self.name) == self.full_at else x


@pytest.fixture
def calls(monkeypatch):
    calls: list[str] = []
    for name, full_at in (("probe_a", 0), ("probe_b", 0), ("probe_full", 4)):
        entry = lambda name=name, full_at=full_at, **_: Logged(name, calls, full_at)  # noqa: E731
        monkeypatch.setitem(timm.models._registry._model_entrypoints, name, entry)
    return calls


def test_rounds_are_interleaved_after_the_warm_up(calls):
    cases = [Case(name, (8, 8), 1) for name in ("probe_a", "probe_b", "probe_a")]
    report = benchmark(cases, rounds=3, warmup=2, memory=False)
    assert calls == ["probe_a"] * 2 + ["probe_b"] * 2 + ["probe_a", "probe_b"] * 3
    assert [measurement.case for measurement in report.measurements] == cases[:2]


def test_running_out_of_memory_midway_ends_that_case_only(calls):
    cases = [Case(name, (8, 8), 1) for name in ("probe_full", "probe_a")]
    full, other = benchmark(cases, rounds=4, warmup=1, memory=False).measurements
    assert full.out_of_memory
    assert len(other.seconds) == 4
    assert calls.count("probe_full") == 4


DURATIONS = {"probe_a": 1.0, "probe_b": 20.0, "probe_full": 70.0}


@pytest.fixture
def slow(calls, monkeypatch):
    """Let steps, of the fresh process too, seem to take as long as their model's name says."""

    def duration(step):
        step()
        return DURATIONS[calls[-1]]

    monkeypatch.setattr("gpvit.profile.measurement._duration", duration)
    memory = lambda case: Memory(0, 2**20, DURATIONS[case.model])  # noqa: E731
    monkeypatch.setattr("gpvit.profile.measurement.measure_memory", memory)
    return [Case(name, (8, 8), 1) for name in DURATIONS]


@pytest.mark.parametrize(
    ("memory", "steps", "runs"),
    # 20 s: the warm-up's two steps and one round, or one round less after the fresh process. 70 s: a single step.
    [
        (False, {"probe_a": 6, "probe_b": 3, "probe_full": 1}, [4, 1, 1]),
        (True, {"probe_a": 6, "probe_b": 2}, [4, 1, 1]),
    ],
)
def test_patience_ends_slow_cases_after_one_step_at_least(slow, calls, memory, steps, runs):
    report = benchmark(slow, rounds=4, warmup=2, memory=memory, patience=60)
    assert {name: calls.count(name) for name in calls} == steps
    assert [row["runs"] for row in report.rows()] == [4, 1, 1]
    assert [row["median_ms"] for row in report.rows()] == [1000, 20000, 70000]
    assert [row["iqr_ms"] for row in report.rows()] == [0, None, None]
    assert not any(row["out_of_memory"] for row in report.rows())
    assert "longer than 60 s" in report.impatience
    assert report.to_dict()["patience"] == 60


def test_a_step_that_stands_for_a_timed_one_is_told_even_of_a_single_round(slow):
    report = benchmark(slow[2:], rounds=1, warmup=1, patience=60)
    assert [row["runs"] for row in report.rows()] == [1]
    assert "was not run again" in report.impatience


def test_what_fits_alone_is_timed_alone(calls):
    run = CaseRun(Case("probe_full", (8, 8), 1), patience=float("inf"))
    run.prepare(warmup=1, memory=False)
    for _ in range(4):
        run.time()
    assert run.result().out_of_memory  # at its fourth call
    run.retry(warmup=1, rounds=2)
    assert not run.result().out_of_memory
    assert run.result().runs == 2


def test_without_patience_every_round_is_run(slow, calls):
    report = benchmark(slow[:2], rounds=4, warmup=1, memory=False)
    assert [row["runs"] for row in report.rows()] == [4, 4]
    assert report.impatience == ""


def test_compilation_does_not_try_patience(slow, calls, monkeypatch):
    monkeypatch.setenv("CXX", "python3")  # stands for a compiler; nothing is compiled
    monkeypatch.setattr("gpvit.profile.workload._compiled", lambda model: model)
    (measured,) = benchmark([replace(slow[2], compiled=True)], rounds=2, warmup=1, patience=60).measurements
    assert measured.runs == 1
    assert calls == ["probe_full"] * 2


@linux_only
def test_memory_of_a_training_step_is_measured_over_the_idle_process():
    case = Case("resnet18", (64, 64), 2, mode="train")
    parameters = sum(p.numel() for p in timm.create_model("resnet18").parameters())
    memory = measure_memory(case)
    assert memory is not None
    # Gradients and AdamW's two moments at the least; activations are small at this size.
    assert 3 * 4 * parameters < memory.over_idle < 6 * 4 * parameters
    assert memory.idle > 4 * parameters
    assert memory.seconds > 0


@linux_only
def test_lack_of_memory_is_recognised_in_the_other_process():
    with pytest.raises(MemoryError):
        measure_memory(IMPOSSIBLE)


@pytest.mark.parametrize(
    ("cases", "options", "message"),
    [
        ([], {}, "nothing to measure"),
        ([Case("resnet18")], {"rounds": 0}, "rounds is 0"),
        ([Case("resnet18")], {"warmup": -1}, "warmup -1"),
        ([Case("resnet18")], {"patience": 0}, "patience is 0"),
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
        check(case)
        assert replace(case, model=case.baseline) in SUITES[name]


def test_machine_is_described():
    machine = describe_machine()
    assert machine.threads == torch.get_num_threads()
    assert machine.cores >= 1
    assert all(word in str(machine) for word in (machine.cpu, machine.torch, machine.timm))
