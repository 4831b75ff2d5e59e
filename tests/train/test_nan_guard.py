from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gpvit.data import ImageFolder, Preprocessing
from gpvit.data.transforms.classification import Augmentation
from gpvit.tasks import ClassificationTask
from gpvit.train import build_trainer, fit
from gpvit.train.failures import TrainingError
from gpvit.train.nan_guard import NanGuard

FAST = {"accelerator": "cpu", "limit_val_batches": 0, "num_sanity_val_steps": 0, "logger": False}


class Fragile(ClassificationTask):
    """Cannot take a white image, as numbers that overflow could not."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        white = (images.mean((1, 2, 3)) > 2).view(-1, 1)
        return super().forward(images).masked_fill(white, float("nan"))


def data(root: Path, white: int) -> ImageFolder:
    """Eight gray images of each of two classes, of which the first are white."""
    for split in ("train", "val"):
        for label, name in enumerate(("ant", "bee")):
            (root / split / name).mkdir(parents=True)
            for index in range(8):
                is_white = split == "train" and label == 0 and index < white
                value = 255 if is_white else 60 + 10 * index
                Image.fromarray(np.full((40, 40, 3), value, np.uint8)).save(root / split / name / f"{index}.png")
    plain = Augmentation(rand_augment=None, erase_probability=0)
    return ImageFolder(root, Preprocessing((3, 32, 32)), plain, batch_size=4, num_workers=0)


def task(**options) -> Fragile:
    torch.manual_seed(0)
    return Fragile("gpvit_nano", mixup_alpha=0, cutmix_alpha=0, warmup_epochs=0, **options)


def test_a_loss_that_is_not_finite_is_told_with_its_images_and_the_checkpoint(tmp_path):
    run = tmp_path / "run"
    images = data(tmp_path / "data", white=0)
    fit(build_trainer(run, max_epochs=1, **FAST), task(), images)
    (tmp_path / "data" / "train" / "ant" / "3.png").write_bytes(_white_png(tmp_path))
    trainer = build_trainer(tmp_path / "more", max_epochs=3, **FAST)
    images.train_set = None
    with pytest.raises(TrainingError, match=r"^the loss is nan at step [4-7], of the images ") as error:
        fit(trainer, task(), images, run / "last.ckpt")
    message = str(error.value)
    listed = (tmp_path / "more" / "not_finite.txt").read_text().splitlines()
    assert len(listed) == 4  # the batch
    assert str(tmp_path / "data" / "train" / "ant" / "3.png") in listed
    assert listed[0] in message
    assert "model.max_skipped_steps" in message
    assert "trainer.gradient_clip_val" in message


def test_the_last_good_checkpoint_is_named(tmp_path):
    images = data(tmp_path / "data", white=0)
    trained = task()
    trained.on_train_epoch_start = lambda: setattr(trained, "nan", trained.current_epoch == 1)
    forward = trained.forward
    trained.forward = lambda x: forward(x) * (float("nan") if trained.nan else 1)
    with pytest.raises(TrainingError, match="at step 4") as error:
        fit(build_trainer(tmp_path / "run", max_epochs=2, **FAST), trained, images)
    assert f"The last good checkpoint is {tmp_path / 'run' / 'last.ckpt'}" in str(error.value)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 4


def test_some_are_passed_over_counted_and_leave_the_weights_alone(tmp_path):
    images = data(tmp_path / "data", white=1)
    trained = task(max_skipped_steps=2, weight_decay=0.5)
    trainer = build_trainer(tmp_path / "run", max_epochs=2, **FAST)
    moved = []
    before = {}

    def start(batch, batch_idx):
        before["head"] = trained.network.head.weight.detach().clone()

    def end(outputs, batch, batch_idx):
        moved.append(not torch.equal(before["head"], trained.network.head.weight))

    trained.on_train_batch_start, trained.on_train_batch_end = start, end
    with pytest.warns(UserWarning, match="passed over") as warned:
        fit(trainer, trained, images)
    told = [str(w.message) for w in warned if "passed over" in str(w.message)]
    assert [f"passed over, {n} of at most 2" in text for n, text in enumerate(told, start=1)] == [True, True]
    assert sorted(moved) == [False] * 2 + [True] * 6  # once in each epoch of four steps
    assert all(tensor.isfinite().all() for tensor in trained.network.state_dict().values())
    assert trainer.callback_metrics["train/skipped_steps"] == 2
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["gpvit_skipped_steps"] == 2


def test_one_more_than_may_be_passed_over_ends_the_run_also_after_a_resume(tmp_path):
    images = data(tmp_path / "data", white=1)
    with pytest.warns(UserWarning, match="passed over, 1 of at most 1"):
        fit(build_trainer(tmp_path / "a", max_epochs=1, **FAST), task(max_skipped_steps=1), images)
    trainer = build_trainer(tmp_path / "b", max_epochs=2, **FAST)
    with pytest.raises(TrainingError, match="before it, 1 were passed over"):
        fit(trainer, task(max_skipped_steps=1), images, tmp_path / "a" / "last.ckpt")


def _white_png(folder: Path) -> bytes:
    path = folder / "white.png"
    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(path)
    return path.read_bytes()


def test_processes_agree_though_only_one_has_such_a_loss(tmp_path):
    torch.multiprocessing.spawn(_agree, (tmp_path,), nprocs=2)
    told = [(tmp_path / f"{rank}").read_text() for rank in (0, 1)]
    assert told[0] == told[1]
    assert told[0].startswith("the loss of process 1 is inf at step 7, of the images sample 3;")


def _agree(rank: int, folder: Path) -> None:
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    loader = SimpleNamespace(batch_sampler=SimpleNamespace(batch=lambda epoch, step: [epoch + step]), dataset=None)
    trainer = SimpleNamespace(
        train_dataloader=loader,
        current_epoch=1,
        fit_loop=SimpleNamespace(batch_idx=2),
        global_step=7,
        global_rank=rank,
        world_size=2,
        default_root_dir=folder,
        is_global_zero=False,
    )
    guard = NanGuard()
    assert guard.passes(trainer, torch.tensor(1.0), 1)
    bad = torch.tensor(float("inf") if rank else 1.0)
    assert not guard.passes(trainer, bad, 1)
    try:
        guard.passes(trainer, bad, 1)
    except TrainingError as error:
        (folder / f"{rank}").write_text(str(error))
    torch.distributed.destroy_process_group()  # or its threads may outlive the interpreter, which then aborts
