import csv
import json
import math
import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from train.runs import SmallTask, Stopped, content, differences, metrics, run, stop_after

import gpvit
from gpvit.errors import UserError
from gpvit.tasks.optim import OptimConfig

SLOW = pytest.mark.slow  # some seconds each, of many
BY_STEPS = {"steps": 5, "validate_every": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing stopped, with what they return and print."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("epochs", "steps")}
    return {name: (folder, run(folder, **(BY_STEPS if name == "steps" else {}))) for name, folder in folders.items()}


def assert_same(reference, folder, summary):
    other, expected = reference
    assert differences(other, folder) == []
    assert metrics(folder) == metrics(other)
    for name in ("best", "last"):
        assert {n: v for n, v in summary[name].items() if n.startswith(("val/", "train/"))} == {
            n: v for n, v in expected[name].items() if n.startswith(("val/", "train/"))
        }
        for prefix in ("", "ema_"):
            file = f"{prefix}{name}.safetensors"
            assert (folder / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.parametrize(
    ("kind", "stop", "workers"),
    [
        ("epochs", (3, "train"), 0),  # between two batches that are accumulated
        # at the first validation, before which a checkpoint is written
        pytest.param("epochs", (0, "val"), 0, marks=SLOW),
        pytest.param("epochs", (9, "train"), 2, marks=SLOW),  # within the second epoch
        ("steps", (5, "train"), 0),  # after a validation within an epoch
        pytest.param("epochs", (1, "train"), 0, marks=SLOW),  # before the first checkpoint
        pytest.param("epochs", (6, "train"), 2, marks=SLOW),  # at the first batch of the second epoch
        pytest.param("epochs", (3, "val"), 0, marks=SLOW),  # while the averaged weights are scored
        pytest.param("steps", (8, "train"), 0, marks=SLOW),  # in the second epoch of a run by steps
        pytest.param("steps", (4, "val"), 0, marks=SLOW),
    ],
)
def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(whole, tmp_path, kind, stop, workers):
    options = BY_STEPS if kind == "steps" else {}
    with pytest.raises(Stopped):
        run(tmp_path, before=stop_after(*stop), **options)
    summary = run(tmp_path, resume=True, data={"num_workers": workers}, **options)
    assert_same(whole[kind], tmp_path, summary)


@pytest.mark.slow
def test_a_run_stopped_at_every_step_ends_alike(whole, tmp_path):
    for _ in range(5):
        with pytest.raises(Stopped):
            run(tmp_path, resume=True, before=stop_after(2))
    assert_same(whole["epochs"], tmp_path, run(tmp_path, resume=True))


def test_other_random_numbers_of_the_process_change_nothing(whole, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, before=stop_after(5))
    torch.manual_seed(99)
    assert_same(whole["epochs"], tmp_path, run(tmp_path, resume=True))


def test_each_step_draws_anew(whole):
    """Were every step seeded alike, runs would be equal, too."""
    drawn = []
    task = SmallTask(lambda kind: drawn.append(torch.get_rng_state().sum().item()) if kind == "train" else None)
    run(whole["epochs"][0].parent / "drawn", task=task, epochs=1)
    assert len(set(drawn)) == len(drawn) == 6


def test_a_new_folder_continues_a_run_and_leaves_it_as_it_is(whole, tmp_path):
    folder, before = whole["epochs"]
    untouched = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    summary = run(tmp_path / "new", resume=folder, epochs=3)
    assert summary["last"]["epoch"] == 3
    assert summary["best"]["val/top1"] >= before["best"]["val/top1"]
    assert (tmp_path / "new/best.safetensors").is_file()
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == untouched
    assert [row["epoch"] for row in metrics(tmp_path / "new")] == ["1", "2", "3"]


def test_a_new_run_from_a_checkpoint_learns_at_its_own_rate(whole, tmp_path):
    optim = OptimConfig(lr=5e-4, weight_decay=0.2)
    run(tmp_path / "new", resume=whole["epochs"][0], task=SmallTask(optim=optim), epochs=3)
    state = torch.load(tmp_path / "new/last.ckpt", weights_only=True)["optimizer"]
    assert {group["initial_lr"] for group in state["param_groups"]} == {5e-4}
    assert {group["weight_decay"] for group in state["param_groups"]} == {0, 0.2}
    assert 0 < float(metrics(tmp_path / "new")[-1]["lr"]) < 5e-4


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(whole, tmp_path, capfd):
    with pytest.raises(Stopped):
        run(tmp_path, before=stop_after(9))
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    summary = run(tmp_path, resume=True)
    assert "last.ckpt is damaged" in (said := capfd.readouterr().err)
    assert "previous.ckpt, the one before, is used" in said
    assert_same(whole["epochs"], tmp_path, summary)


def test_the_run_folder_holds_logs_weights_and_results(tmp_path, capfd):
    summary = run(tmp_path, loggers=("tensorboard",), ema=None)
    lines = capfd.readouterr().out.splitlines()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"best.safetensors", "last.safetensors", "last.ckpt", "previous.ckpt", "config.yaml"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert json.loads((tmp_path / "metrics.json").read_text()) == summary
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6")]
    assert all(value for row in rows for value in row.values())
    assert {"lr", "train/loss", "val/top1", "speed/images_per_s", "speed/data_wait"} <= rows[0].keys()
    assert summary["best"]["val/top1"] == max(float(row["val/top1"]) for row in rows)
    assert lines[0] == f"run folder {tmp_path}"
    assert "M parameters on 1 x cpu, 8 images a step, 6 steps" in lines[1]
    assert [line[:9] for line in lines[2:]] == ["epoch 1/2", "epoch 2/2"]
    assert all("loss" in line and "top1" in line and len(line) <= 80 for line in lines[2:])
    model = gpvit.load(tmp_path / "last.safetensors")
    assert model.pretrained_cfg["label_names"] == [str(i) for i in range(10)]
    assert tuple(model.pretrained_cfg["input_size"]) == (1, 32, 32)


def test_scores_are_those_of_the_weights_that_are_written(tmp_path):
    summary = run(tmp_path, data={"val_images": 6}, validate_every=2)
    for file, prefix in (("last", "val/"), ("best", "val/"), ("ema_last", "val/ema_"), ("ema_best", "val/ema_")):
        task = SmallTask(weights=str(tmp_path / f"{file}.safetensors"), drop_path_rate=0.0)
        scores = _scores(task)
        assert scores["val/loss"] == pytest.approx(summary["last"][f"{prefix}loss"], abs=1e-4), file
    raw, averaged = (load_file(tmp_path / f"{name}.safetensors") for name in ("last", "ema_last"))
    assert not torch.equal(raw["head.weight"], averaged["head.weight"])
    assert [row["epoch"] for row in metrics(tmp_path)] == ["1", "2"]
    assert metrics(tmp_path)[0]["val/loss"] == ""


@pytest.mark.parametrize(
    ("settings", "validated"),
    [
        ({"steps": 5}, [3, 5]),
        ({"steps": 5, "validate_every": 2}, [2, 4, 5]),
        ({"epochs": 3, "validate_every": 2}, [6, 9]),
    ],
)
@pytest.mark.slow
def test_validation_comes_after_epochs_or_steps_and_at_the_end(tmp_path, settings, validated):
    run(tmp_path, ema=None, **settings)
    assert [int(row["step"]) for row in metrics(tmp_path) if row["val/top1"]] == validated


def _scores(task):
    from train.runs import FewDigits

    data = FewDigits(val_images=6, batch_size=4)
    data.setup("fit")
    task.build(data)
    task.eval()
    with torch.no_grad():
        for index, batch in enumerate(data.val_dataloader()):
            task.validation_step(batch, index)
    return task.validation_metrics()


def test_training_does_not_notice_the_average(whole, tmp_path):
    run(tmp_path, ema=None)
    alone, beside = content(tmp_path), content(whole["epochs"][0])
    assert all(torch.equal(value, beside[name]) for name, value in alone.items() if name.startswith(".model"))


def test_the_average_is_the_textbook_sum(tmp_path):
    """Of the weights after each step; batch norms' counts are copied."""
    states = []

    class Watching(SmallTask):
        def training_step(self, batch, batch_idx):
            states.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
            return super().training_step(batch, batch_idx)

    run(tmp_path, task=Watching(), accumulate=1, epochs=1)
    after = [*states[1:], torch.load(tmp_path / "last.ckpt", weights_only=True)["model"]]
    average, updates = torch.load(tmp_path / "last.ckpt", weights_only=True)["ema"]
    assert updates == len(after) == 7
    for name, expected in states[0].items():
        for step, weights in enumerate(after, 1):
            kept = min(0.9, (1 + step) / (10 + step))
            moved = kept * expected + (1 - kept) * weights[name]
            expected = moved if expected.is_floating_point() else weights[name]
        assert torch.allclose(average[name], expected, atol=1e-5), name


class Plain(SmallTask):
    """Draws nothing, and keeps the statistics of its batch norms."""

    def __init__(self) -> None:
        super().__init__(drop_path_rate=0.0, mixup_alpha=0.0, cutmix_alpha=0.0)

    def training_step(self, batch, batch_idx):
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    "settings", [{"accumulate": 2}, pytest.param({"global_batch_size": 8}, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_accumulation_learns_what_a_larger_batch_does(tmp_path, settings):
    still = {"rotation_degrees": 0, "shift": 0, "zoom": 0}
    options = {"precision": "64-true", "clip": 0.1}
    run(tmp_path / "one", task=Plain(), data={"batch_size": 8, **still}, accumulate=1, **options)
    run(tmp_path / "two", task=Plain(), data={"batch_size": 4, **still}, **settings, **options)
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(tensor, two[name], rtol=0, atol=1e-9) for name, tensor in one.items())
    rows = [float(metrics(tmp_path / name)[-1]["train/loss"]) for name in ("one", "two")]
    assert rows[0] == pytest.approx(rows[1])


def test_mixed_precision_keeps_inputs_whole(tmp_path):
    seen = []

    class Watching(SmallTask):
        def training_step(self, batch, batch_idx):
            seen.append((batch[0].dtype, torch.is_autocast_enabled("cpu")))
            return super().training_step(batch, batch_idx)

    run(tmp_path, task=Watching(), precision="bf16-mixed", epochs=1)
    assert set(seen) == {(torch.float32, True)}


def test_a_resume_that_takes_other_images_a_step_is_refused(whole, tmp_path):
    with pytest.raises(ValueError, match="takes 8 images a step, and these settings 16: set train"):
        run(tmp_path, resume=whole["epochs"][0], accumulate=4, data={"images": 56})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*"012345678", "nine"], "only in the run: 9; only in the data: nine"),
        ([*"0123456789", "ten"], "only in the data: ten"),
        ([*"012345678"], "only in the run: 9"),
        ([*"0123456798"], "their order is 0, 1, 2, 3, 4, 5, 6, 7, 9, 8 in place of 0, 1, 2"),
    ],
)
@pytest.mark.parametrize("new", [False, True], ids=["the run itself", "a new run from it"])
def test_classes_that_are_no_longer_those_of_the_run_are_refused(whole, tmp_path, names, message, new):
    folder, _ = whole["epochs"]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    out, resume = (tmp_path / "new", folder) if new else (folder, True)
    with pytest.raises(UserError, match=f"no longer those of the run in .*{message}.*name another --out"):
        run(out, resume=resume, epochs=3, data={"names": names})
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_of_two_runs_in_a_folder_one_is_refused_and_writes_nothing(tmp_path):
    others = []

    def start_another(kind: str) -> None:
        if others:
            return
        others.append(kind)
        before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        with pytest.raises(UserError, match=r"another run writes into .* now; wait for its end, or name another --out"):
            run(tmp_path, task=SmallTask())
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before

    run(tmp_path, before=start_another, epochs=1)
    assert others
    assert not (tmp_path / ".lock").exists()


@pytest.mark.slow
def test_run_folders_are_named_as_in_a_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    run("~/mine/one", epochs=1)
    run("$RUNS/one", resume=True, epochs=2)
    run("mine/two", resume="~/mine/one", epochs=3)
    assert len(metrics(tmp_path / "mine/two")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_another_batch_size_continues_at_the_same_image(tmp_path):
    still = {"rotation_degrees": 0, "shift": 0, "zoom": 0}
    options = {"precision": "64-true", "ema": None}
    run(tmp_path / "whole", task=Plain(), data={"batch_size": 4, **still}, **options)
    stopped = Plain()
    stopped.before = stop_after(8)
    with pytest.raises(Stopped):
        run(tmp_path / "run", task=stopped, data={"batch_size": 4, **still}, **options)
    run(tmp_path / "run", task=Plain(), resume=True, data={"batch_size": 8, **still}, accumulate=1, **options)
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "run"))
    assert all(torch.allclose(tensor, two[name], rtol=0, atol=1e-9) for name, tensor in one.items())


def test_a_data_module_that_knows_nothing_of_processes_is_trained_on(tmp_path):
    from lightning import LightningDataModule
    from train.runs import SETTINGS, FewDigits

    from gpvit.train import TrainConfig, fit

    class Foreign(LightningDataModule):
        def __init__(self):
            super().__init__()
            self.digits = FewDigits(batch_size=4)
            self.batch_size = 4
            for name in ("preprocessing", "class_names", "num_classes"):
                setattr(self, name, getattr(self.digits, name))

        def setup(self, stage):
            self.digits.setup(stage)

        def train_dataloader(self):
            return torch.utils.data.DataLoader(self.digits.train_set, 4, drop_last=True)

        def val_dataloader(self):
            return torch.utils.data.DataLoader(self.digits.val_set, 4)

    for stop in (8, None):
        task = SmallTask(stop_after(stop) if stop else lambda kind: None)
        try:
            fit(task, Foreign(), TrainConfig(epochs=2, **SETTINGS), tmp_path, resume=True)
        except Stopped:
            assert content(tmp_path)[".step"] == 4
    assert content(tmp_path)[".step"] == 6


def test_no_warning_is_left_to_the_user(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        run(tmp_path, epochs=1)
    assert math.isfinite(float(metrics(tmp_path)[0]["train/loss"]))
