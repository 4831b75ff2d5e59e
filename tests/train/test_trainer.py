import io
from contextlib import redirect_stdout

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from tasks.objects import Rectangles
from tasks.patches import Patches
from torch import nn

from gpvit.data import Digits
from gpvit.tasks import ClassificationTask, DetectionTask, SegmentationTask
from gpvit.train import ModelEMA, build_trainer, fit
from gpvit.train.progress import RunBar
from gpvit.train.sync_batchnorm import SyncBatchNorm

FAST = {"accelerator": "cpu", "limit_train_batches": 2, "limit_val_batches": 1, "num_sanity_val_steps": 0}


def classify(**options) -> ClassificationTask:
    return ClassificationTask("gpvit_nano", warmup_epochs=0, **options)


def digits() -> Digits:
    return Digits(image_size=32, batch_size=8)


def test_metrics_csv_is_written_beside_any_logger(tmp_path):
    other = TensorBoardLogger(tmp_path / "elsewhere")
    own = build_trainer(tmp_path / "a").loggers
    assert [isinstance(logger, kind) for logger, kind in zip(own, (CSVLogger, TensorBoardLogger), strict=True)] == [
        1,
        1,
    ]
    assert build_trainer(tmp_path / "b", logger=other).loggers[1:] == [other]
    assert isinstance(build_trainer(tmp_path / "c", logger=[other]).loggers[0], CSVLogger)
    assert build_trainer(tmp_path / "d", logger=False).loggers == []


@pytest.mark.parametrize(
    ("task", "data"),
    [
        (classify(grad_checkpointing=True), digits()),
        (SegmentationTask("upernet_gpvit_nano", grad_checkpointing=True), Patches()),
        (DetectionTask("retinanet_gpvit_nano", {"min_size": 64}, grad_checkpointing=True), Rectangles(masks=False)),
    ],
)
def test_gradient_checkpointing_reaches_the_backbone_of_every_task(tmp_path, monkeypatch, task, data):
    runs = []
    original = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "gpvit.models.activation_checkpointing.checkpoint",
        lambda *args, **kwargs: (runs.append(0), original(*args, **kwargs))[1],
    )
    fit(build_trainer(tmp_path, max_steps=1, **FAST), task, data)
    assert len(runs) >= 12  # blocks


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.filterwarnings("ignore:You passed")  # a CPU takes bfloat16 for float16, and Lightning says so
def test_mixed_precision_clipping_and_accumulation_train(tmp_path, precision):
    seen = set()
    task = classify()
    task.on_before_zero_grad = lambda _: seen.update(
        p.grad.norm().item() > 1e-3 for p in task.network.parameters() if p.grad is not None
    )
    task.forward = lambda images: (seen.add(torch.is_autocast_enabled("cpu")), task.network(images))[1]
    options = {"precision": precision, "gradient_clip_val": 1e-4, "accumulate_grad_batches": 2, "max_epochs": 1}
    trainer = build_trainer(tmp_path, **{**FAST, "limit_train_batches": 4}, **options)
    fit(trainer, task, digits())
    assert trainer.global_step == 2
    assert all(p.dtype == torch.float32 for p in task.network.parameters())
    assert seen == {True, False}  # autocast, and clipped gradients


@pytest.mark.slow  # to trace a network for training and for validation takes long
@pytest.mark.parametrize(
    ("task", "data"),
    [
        (classify(compile=True), digits()),
        (SegmentationTask("segformer_gpvit_nano", compile=True), Patches()),
        (DetectionTask("retinanet_gpvit_nano", {"min_size": 64}, compile=True), Rectangles(masks=False)),
    ],
)
def test_compiled_networks_train_and_are_written_as_others(tmp_path, monkeypatch, task, data):
    original = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda part: original(part, backend="eager"))  # kernels take minutes
    before = torch._dynamo.utils.counters["frames"]["ok"]
    fit(build_trainer(tmp_path, [ModelEMA(0.9)], max_steps=2, **FAST), task, data)
    assert torch._dynamo.utils.counters["frames"]["ok"] > before
    assert not any("_orig_mod" in name for name in torch.load(tmp_path / "last.ckpt")["state_dict"])


def test_compilation_without_a_compiler_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FileNotFoundError, match="'no-such-compiler' is not on the PATH"):
        fit(build_trainer(tmp_path, max_steps=1, **FAST), classify(compile=True), digits())


@pytest.mark.parametrize(
    ("wanted", "always", "device", "processes", "expected"),
    [
        (True, False, "cuda", 2, True),
        (False, True, "cuda", 2, True),
        (False, False, "cuda", 2, False),
        (True, True, "cuda", 1, False),
        (True, True, "cpu", 2, False),
    ],
)
def test_batch_norms_are_synchronised_among_gpus_where_the_task_wants_it(wanted, always, device, processes, expected):
    task = nn.Sequential(nn.BatchNorm2d(2))
    task.sync_batch_norm = wanted
    strategy = type("Strategy", (), {"root_device": torch.device(device)})
    task.trainer = type("Trainer", (), {"strategy": strategy, "world_size": processes})
    converted = SyncBatchNorm(always).apply(task)
    assert isinstance(converted[0], nn.SyncBatchNorm) == expected


def test_detection_and_segmentation_want_synchronised_batch_norms():
    assert (ClassificationTask.sync_batch_norm, SegmentationTask.sync_batch_norm) == (False, True)
    assert DetectionTask.sync_batch_norm


def test_strategies_by_name(tmp_path):
    for name, kind in (("ddp", DDPStrategy), ("fsdp2", ModelParallelStrategy)):
        trainer = build_trainer(tmp_path / name, strategy=name, accelerator="cpu", devices=2)
        assert isinstance(trainer.strategy, kind)
        assert isinstance(trainer.strategy._layer_sync, SyncBatchNorm)


def test_recipes_that_synchronise_batch_norms_run_on_one_cpu(tmp_path):
    fit(
        build_trainer(tmp_path, sync_batchnorm=True, max_steps=1, **FAST),
        SegmentationTask("segformer_gpvit_nano"),
        Patches(),
    )


def test_the_bar_shows_the_figures_and_reads_metrics_seldom(tmp_path, monkeypatch):
    reads = []
    original = RunBar.get_metrics
    monkeypatch.setattr(RunBar, "get_metrics", lambda *args: (shown := original(*args), reads.append(shown))[0])
    monkeypatch.setattr("gpvit.train.progress._BAR_REFRESHES", 1e-3)  # once in 1,000 seconds
    with redirect_stdout(io.StringIO()):
        options = {**FAST, "limit_train_batches": 10}
        fit(build_trainer(tmp_path, enable_progress_bar=True, max_epochs=1, **options), classify(), digits())
    assert {"images/s", "wait", "left", "loss"} <= reads[-1].keys()
    assert len(reads) < 10
