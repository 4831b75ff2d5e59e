import pytest
import torch
import torch.nn.functional as F
from tasks.plain import optim, train
from torch.utils.data import DataLoader, TensorDataset

import gpvit
from gpvit.data import ClassificationData, Preprocessing
from gpvit.tasks import ClassificationTask

SHORT = {"optim": optim(ClassificationTask)}
PLAIN = {"label_smoothing": 0.0, "mixup_alpha": 0.0, "cutmix_alpha": 0.0, **SHORT}


class Noise(ClassificationData):
    """Random images whose class is their brightness."""

    def __init__(self, num_classes: int = 2, batch_size: int = 8, images: int = 16):
        names, preprocessing = [f"class {i}" for i in range(num_classes)], Preprocessing((1, 32, 40), (0.5,), (0.5,))
        super().__init__(names, preprocessing, batch_size=batch_size, num_workers=0)
        labels = torch.arange(images) % num_classes
        pictures = torch.rand(images, 1, 32, 40, generator=torch.Generator().manual_seed(0)) + labels.view(-1, 1, 1, 1)
        self.train_set = self.val_set = TensorDataset(pictures, labels)


def test_the_network_takes_classes_channels_and_size_from_the_data():
    task = ClassificationTask("gpvit_nano", drop_path_rate=0.1, **PLAIN)
    trainer = train(task, Noise(num_classes=7), limit_train_batches=1)
    assert (task.network.num_classes, task.network.in_chans) == (7, 1)
    assert tuple(task.network.pos_embed.shape[1:3]) == (4, 5)
    assert task(torch.rand(3, 1, 32, 40)).shape == (3, 7)
    assert {"train/loss", "val/loss", "val/top1", "val/top5"} <= trainer.callback_metrics.keys()


def test_top5_is_left_out_where_it_would_say_nothing():
    trainer = train(ClassificationTask("gpvit_nano", **PLAIN), Noise(num_classes=5), limit_train_batches=1)
    assert "val/top1" in trainer.callback_metrics
    assert "val/top5" not in trainer.callback_metrics


def test_it_learns_a_batch_by_heart():
    torch.manual_seed(0)
    task = ClassificationTask("gpvit_nano", **PLAIN)
    trainer = train(task, Noise(images=8), max_epochs=30, limit_val_batches=0)
    assert trainer.callback_metrics["train/loss"] < 0.1


def test_mixed_targets_are_smoothed_as_the_loss_would():
    task = ClassificationTask("gpvit_nano", label_smoothing=0.3, **SHORT)
    data = Noise(num_classes=6)
    train(task, data, limit_train_batches=1)
    images, labels = next(iter(DataLoader(data.train_set, batch_size=8)))
    task.mixup.mixup_enabled = False  # soft targets alone
    _, soft = task.mixup(images.clone(), labels)
    logits = task(images)
    assert torch.allclose(
        F.cross_entropy(logits, soft), F.cross_entropy(logits, labels, label_smoothing=0.3), atol=1e-6
    )


def test_mixing_changes_images_and_shares_the_target():
    task = ClassificationTask("gpvit_nano", label_smoothing=0.0, **SHORT)
    data = Noise(num_classes=6)
    train(task, data, limit_train_batches=1)
    images, labels = next(iter(DataLoader(data.train_set, batch_size=8)))
    for _ in range(5):
        mixed, soft = task.mixup(images.clone(), labels)
        assert torch.allclose(soft.sum(1), torch.ones(8))
        assert not torch.equal(mixed, images)


def test_an_odd_batch_cannot_be_mixed():
    with pytest.raises(ValueError, match="has 3: make batch_size even"):
        train(ClassificationTask("gpvit_nano", **SHORT), Noise(batch_size=3, images=9))


def test_finetuning_keeps_the_backbone_and_renews_the_head(tmp_path, capsys):
    start = gpvit.create_model("gpvit_nano", num_classes=4, in_chans=1, img_size=(32, 40))
    gpvit.save(start, tmp_path / "start.safetensors")
    task = ClassificationTask(
        "gpvit_nano",
        weights=str(tmp_path / "start.safetensors"),
        **PLAIN | {"optim": optim(ClassificationTask, lr=0.0)},
    )
    train(task, Noise(num_classes=2), limit_train_batches=1)
    assert "head.weight (4, 72) left out" in capsys.readouterr().err
    assert torch.equal(task.network.pos_embed, start.pos_embed)
    assert task.network.head.weight.shape == (2, 72)
