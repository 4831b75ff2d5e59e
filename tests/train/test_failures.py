import os
import signal
import time

import pytest
import torch
from lightning import Trainer
from torch.utils.data import Dataset, get_worker_info

import gpvit.train.memory_advice as memory
from gpvit.data import ClassificationData, Preprocessing
from gpvit.tasks import ClassificationTask
from gpvit.train import build_trainer, fit
from gpvit.train.failures import TrainingError, explained

FAST = {"accelerator": "cpu", "limit_val_batches": 0, "num_sanity_val_steps": 0, "logger": False, "max_epochs": 2}


class Trap(Dataset):
    """Random images; a worker process that reads the one at `fatal` is killed."""

    def __init__(self, fatal: int, harm):
        self.fatal, self.harm = fatal, harm

    def __len__(self):
        return 16

    def __getitem__(self, index):
        if index == self.fatal:
            self.harm()
        return torch.rand(1, 32, 32), index % 2


class Trapped(ClassificationData):
    def __init__(self, harm, num_workers: int = 0, fatal: int = 9):
        super().__init__(["a", "b"], Preprocessing((1, 32, 32), (0.5,), (0.5,)), 4, num_workers)
        self.train_set = self.val_set = Trap(fatal, harm)


def task() -> ClassificationTask:
    return ClassificationTask("gpvit_nano", mixup_alpha=0.0, cutmix_alpha=0.0, warmup_epochs=0)


def _die() -> None:
    assert get_worker_info() is not None  # never the test itself
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(error: Exception):
    def harm():
        raise error

    return harm


def test_a_killed_loader_process_ends_the_run_with_remedies(tmp_path):
    start = time.monotonic()
    with pytest.raises(TrainingError) as error:
        fit(build_trainer(tmp_path, **FAST), task(), Trapped(_die, num_workers=2))
    assert time.monotonic() - start < 30
    message = str(error.value)
    for words in ("loader process", "(Killed)", "memory", "data.num_workers (now 2", "/dev/shm", "no checkpoint in"):
        assert words in message


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
    trained = task()
    trained.on_before_zero_grad = lambda optimizer: _fail(error)()
    with pytest.raises(TrainingError) as raised:
        fit(build_trainer(tmp_path, accumulate_grad_batches=2, **FAST), trained, Trapped(None, fatal=-1))
    message = str(raised.value)
    for words in (
        "out of memory on cpu at step 0: a batch of 4 images of 1x32x32",
        "--data.batch_size 2 --trainer.accumulate_grad_batches 4, saves about 50%",
        "gradient checkpointing",
        "--trainer.precision bf16-mixed",
    ):
        assert words in message


def test_memory_that_torch_really_cannot_get_is_told(tmp_path):
    trained = task()
    trained.on_before_zero_grad = lambda optimizer: torch.empty(2**57)
    with pytest.raises(TrainingError, match="out of memory on cpu"):
        fit(build_trainer(tmp_path, **FAST), trained, Trapped(None, fatal=-1))


def test_the_estimate_counts_weights_gradients_and_averages():
    trained = task()
    trained.network = torch.nn.Linear(10, 10, bias=False)
    assert memory._fixed_bytes(trained) == 100 * 4 * 4
    trained.network.requires_grad_(False)
    assert memory._fixed_bytes(trained) == 100 * 4


def test_no_memory_in_a_loader_process_is_not_blamed_on_the_batch(tmp_path):
    with pytest.raises(TrainingError, match=r"a loader process found no memory left.*data\.num_workers \(now 1"):
        fit(build_trainer(tmp_path, **FAST), task(), Trapped(_fail(MemoryError()), num_workers=1))


def test_a_lost_process_is_told_where_there_are_several(tmp_path):
    error = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]")
    single = Trainer(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path)
    with pytest.raises(RuntimeError, match=r"^.*Connection closed"), explained(single, task()):
        raise error
    several = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, default_root_dir=tmp_path)
    with pytest.raises(TrainingError, match="process 0 of 2 lost another process"), explained(several, task()):
        raise error


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match=r"^a mistake of ours$") as error:
        fit(build_trainer(tmp_path, **FAST), task(), Trapped(_fail(RuntimeError("a mistake of ours"))))
    assert not isinstance(error.value, TrainingError)
