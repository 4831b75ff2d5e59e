import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset, get_worker_info
from train.runs import SETTINGS, FewDigits, SmallTask, content, run

from gpvit.train import TrainConfig, fit
from gpvit.train.failures import TrainingError, report_not_finite


class Trap(Dataset):
    """Random images; a worker process that reads the one at `fatal` is harmed."""

    def __init__(self, harm, fatal: int = 9):
        self.fatal, self.harm = fatal, harm

    def __len__(self):
        return 16

    def __getitem__(self, index):
        if index == self.fatal:
            self.harm()
        return torch.rand(1, 32, 32), index % 2

    def name(self, index):
        return f"{index}.png"


class Trapped(FewDigits):
    def __init__(self, harm=None, num_workers: int = 0):
        super().__init__(batch_size=4, num_workers=num_workers)
        self.train_set = self.val_set = Trap(harm, fatal=9 if harm else -1)

    def write_report(self, folder):
        """Read nothing in the training process, which would be harmed."""


def train(folder, data, task=None, **settings):
    settings = {**SETTINGS, "accumulate": 1, "epochs": 2, **settings}
    return fit(task or SmallTask(), data, TrainConfig(**settings), folder)


def _die() -> None:
    assert get_worker_info() is not None  # never the test itself
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(error: Exception):
    def harm(*_):
        raise error

    return harm


def test_a_killed_loader_process_ends_the_run_with_remedies(tmp_path):
    with pytest.raises(TrainingError) as error:
        train(tmp_path, Trapped(_die, num_workers=2))
    for words in ("loader process", "Killed", "memory", "data.num_workers", "/dev/shm", tmp_path.name):
        assert words in str(error.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 79 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_no_memory_is_told_with_the_batch_and_three_remedies(error, tmp_path):
    with pytest.raises(TrainingError, match="memory ran out with batches of 4 images on cpu") as raised:
        run(tmp_path, before=_fail(error))
    for words in (
        "data.batch_size",
        "grad_checkpointing",
        "--train.precision bf16-mixed",
        "step 1",
        "no checkpoint in",
    ):
        assert words in str(raised.value)


def test_no_memory_in_a_loader_process_is_not_blamed_on_the_batch(tmp_path):
    with pytest.raises(TrainingError, match=r"a loader process is gone.*data\.num_workers"):
        train(tmp_path, Trapped(_fail(MemoryError()), num_workers=1))


def test_other_errors_stay_what_they_are(tmp_path):
    for workers in (0, 1):
        with pytest.raises(RuntimeError, match="a mistake of ours") as error:
            train(tmp_path, Trapped(_fail(RuntimeError("a mistake of ours")), num_workers=workers))
        assert not isinstance(error.value, TrainingError)


class Fragile(SmallTask):
    """Gives no finite loss at certain batches, counted from 0."""

    def __init__(self, *bad: int) -> None:
        super().__init__()
        self.bad, self.count, self.moved = bad, 0, []

    def training_step(self, batch, batch_idx):
        weight = self.network.head.weight.detach().clone()
        self.moved.append(self.count and not torch.equal(weight, self.before_step))
        self.before_step = weight
        losses = super().training_step(batch, batch_idx)
        if self.count in self.bad:
            losses["loss"] = losses["loss"] * float("nan")
        self.count += 1
        return losses


def test_a_loss_that_is_not_finite_is_told_with_its_images_and_the_checkpoint(tmp_path):
    with pytest.raises(
        TrainingError, match=r"^the loss is nan at step 6, of the images \d+\.png, .* and 1 more"
    ) as error:
        train(tmp_path, Trapped(), Fragile(5))
    listed = (tmp_path / "not_finite.txt").read_text().splitlines()
    assert len(listed) == len(set(listed)) == 4  # the batch
    message = str(error.value)
    for words in (
        listed[0],
        "not_finite.txt",
        "--train.max_skipped_steps",
        "--train.clip",
        "The last good checkpoint is",
    ):
        assert words in message
    assert content(tmp_path)[".step"] == 5
    assert all(torch.isfinite(v).all() for n, v in content(tmp_path).items() if n.startswith(".model"))


def test_of_accumulated_batches_the_one_that_is_not_finite_is_told(tmp_path):
    with pytest.raises(TrainingError, match="at step 2, of the images") as error:
        train(tmp_path, Trapped(), Fragile(3), accumulate=2)
    assert len((tmp_path / "not_finite.txt").read_text().splitlines()) == 4
    assert f"There is no checkpoint in {tmp_path}" not in str(error.value)


def test_some_are_skipped_counted_and_leave_the_weights_alone(tmp_path, capsys):
    task = Fragile(1, 6)
    summary = train(tmp_path, Trapped(), task, max_skipped_steps=2)
    said = capsys.readouterr().out
    assert "the loss is nan at step 2, of the images" in said
    assert "skipped, 2 of at most 2" in said
    assert task.moved == [0, True, False, True, True, True, True, False]
    assert summary["last"]["train/loss"] > 0
    assert content(tmp_path)[".skipped"] == 2
    assert content(tmp_path)[".step"] == 8


def test_one_more_than_may_be_skipped_ends_the_run_also_after_a_resume(tmp_path):
    train(tmp_path / "a", Trapped(), Fragile(1), max_skipped_steps=1, epochs=1)
    config = TrainConfig(**{**SETTINGS, "accumulate": 1, "epochs": 2, "max_skipped_steps": 1})
    with pytest.raises(TrainingError, match="1 steps were skipped before"):
        fit(Fragile(0), Trapped(), config, tmp_path / "b", resume=tmp_path / "a")


@pytest.mark.slow
def test_processes_agree_though_only_one_has_such_a_loss(tmp_path):
    torch.multiprocessing.spawn(_agree, (tmp_path,), nprocs=2)
    said = [(tmp_path / f"{rank}").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert said[0].startswith("the loss of process 1 is inf at step 8, of the images sample 3 (all in")


def _agree(rank: int, folder) -> None:
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    sampler = SimpleNamespace(batch=lambda epoch, index: [epoch + index])
    run = SimpleNamespace(
        fabric=SimpleNamespace(global_rank=rank, world_size=2, is_global_zero=rank == 0),
        loader=SimpleNamespace(batch_sampler=sampler, dataset=None),
        config=SimpleNamespace(max_skipped_steps=0),
        taken=(7, [(2, {"loss": torch.tensor(float("inf") if rank else 1.0)})]),
        epoch_steps=7,
        skipped=1,
        folder=folder,
    )
    try:
        report_not_finite(run)
    except TrainingError as error:
        (folder / f"{rank}").write_text(str(error))
    torch.distributed.destroy_process_group()  # or its threads may outlive the interpreter, which then aborts
