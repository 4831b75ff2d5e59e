import re

import pytest
import torch
from tasks.objects import Rectangles
from tasks.plain import SMALL, optim, train
from torch import nn

import gpvit
from gpvit.data.transforms.detection import DetectionAugmentation
from gpvit.tasks import DetectionTask
from gpvit.tasks.detection import detect

DETECTORS = ["mask_rcnn_gpvit_nano", "retinanet_gpvit_nano"]
PLAIN = {"optim": optim(DetectionTask, schedule="poly")}
STILL = {"optim": optim(DetectionTask, lr=0.0)}
LOSSES = {
    "mask_rcnn_gpvit_nano": {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"},
    "retinanet_gpvit_nano": {"classification", "bbox_regression"},
}


def small(name: str, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return gpvit.create_model(name, **{"num_classes": 2, **SMALL, **kwargs})


def seeing(network: nn.Module) -> nn.Module:
    """Let everything count as an object, so that a network that learned nothing finds something."""
    (network.roi_heads if network.has_masks else network).score_thresh = 0.0
    return network


@pytest.mark.parametrize("name", DETECTORS)
def test_losses_add_up_and_scores_are_logged(name):
    task = DetectionTask(name, drop_path_rate=0.1, **SMALL, **PLAIN)
    trainer = train(task, Rectangles(), limit_val_batches=1)
    assert task.network.num_classes == 2
    metrics = trainer.callback_metrics
    parts = {f"train/{loss}" for loss in LOSSES[name]}
    kinds = ("box", "mask") if task.network.has_masks else ("box",)
    scores = {f"val/{kind}_{figure}" for kind in kinds for figure in ("ap", "ap50", "ap75")}
    assert set(metrics) == {*parts, *scores, "train/loss"}
    assert metrics["train/loss"].item() == pytest.approx(sum(metrics[part].item() for part in parts), rel=1e-5)
    assert task.best_metric == f"val/{kinds[-1]}_ap"


@pytest.mark.parametrize("name", DETECTORS)
def test_every_parameter_takes_part_in_the_loss(name):  # distributed training would stop at one that does not
    network = small(name).train()
    boxes = torch.tensor([[4.0, 4.0, 40.0, 40.0]])
    target = {"boxes": boxes, "labels": torch.tensor([2]), "masks": torch.ones(1, 64, 64, dtype=torch.uint8)}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, 64, 64)}
    for targets in ([target, target], [empty, empty]):
        network.zero_grad()
        sum(network(list(torch.rand(2, 3, 64, 64)), targets).values()).backward()
        assert not [name for name, parameter in network.named_parameters() if parameter.grad is None]


@pytest.mark.slow
def test_it_learns_a_few_pictures_by_heart():
    torch.manual_seed(0)
    kwargs = {**SMALL, "head_kwargs": {"anchor_scale": 4.0, "rois_per_image": 16}}
    task = DetectionTask("mask_rcnn_gpvit_nano", optim=optim(DetectionTask, lr=4e-3, schedule="poly"), **kwargs)
    trainer = train(task, Rectangles(), max_epochs=12, check_val_every_n_epoch=12, gradient_clip_val=10.0)
    assert trainer.callback_metrics["val/box_ap50"] > 0.3
    assert trainer.callback_metrics["val/mask_ap50"] > 0.3


def test_a_plain_transformer_of_timm_can_be_trained():
    kwargs = {**SMALL, "channels": 16, "backbone_kwargs": {"img_size": 64}}
    task = DetectionTask("retinanet_vit_tiny_patch16_224", **kwargs, **PLAIN)
    trainer = train(task, Rectangles(masks=False), limit_train_batches=1, limit_val_batches=0)
    assert trainer.callback_metrics["train/loss"] > 0


@pytest.mark.parametrize("name", DETECTORS)
def test_pictures_of_a_batch_do_not_change_what_is_found_in_each_other(name):
    network = seeing(small(name)).eval()
    images = [torch.rand(3, 64, 96), torch.rand(3, 96, 64), torch.rand(3, 64, 96)]
    with torch.no_grad():
        alone = [network([image])[0] for image in images]
        for together in (detect(network, images), detect(network, images[::2])):
            for found, expected in zip(together, alone if len(together) == 3 else alone[::2], strict=True):
                assert len(found["boxes"]) == len(expected["boxes"]) > 0
                assert torch.allclose(found["scores"], expected["scores"], atol=1e-5)


@pytest.mark.parametrize("name", DETECTORS)
def test_finetuning_renews_only_what_depends_on_the_classes(name, tmp_path, capsys):
    start = small(name, num_classes=5)
    gpvit.save(start, tmp_path / "start.safetensors")
    task = DetectionTask(name, weights=str(tmp_path / "start.safetensors"), **SMALL, **STILL)
    train(task, Rectangles(), limit_train_batches=1, limit_val_batches=0)
    printed = capsys.readouterr().err
    assert "left out" in printed
    renewed = {line.split()[1] for line in printed.splitlines() if "left out" in line}
    ours = dict(task.network.named_parameters())
    assert all(name.startswith(start.head_names) for name in renewed)
    assert {name for name, tensor in start.named_parameters() if not torch.equal(ours[name], tensor)} == renewed


def test_training_starts_from_a_classifiers_backbone(tmp_path, capsys):
    start = gpvit.create_model("gpvit_nano", num_classes=4)
    gpvit.save(start, tmp_path / "start.safetensors")
    path = str(tmp_path / "start.safetensors")
    task = DetectionTask("retinanet_gpvit_nano", backbone_weights=path, **SMALL, **STILL)
    train(task, Rectangles(masks=False), limit_train_batches=1, limit_val_batches=0)
    assert "loaded into the backbone" in capsys.readouterr().err
    ours = dict(task.network.backbone.body.backbone.named_parameters())
    assert all(torch.equal(ours[name], t) for name, t in start.named_parameters() if name.startswith("blocks"))


def test_evaluation_sees_the_largest_size_of_training():
    augmentation = DetectionAugmentation(short_sides=(48, 64, 56), long_side=100)
    data = Rectangles(masks=False, augmentation=augmentation)
    for kwargs, expected in [({}, (64, 100)), ({"min_size": 40}, (40, 1333)), ({"max_size": 80}, (64, 80))]:
        task = DetectionTask("retinanet_gpvit_nano", channels=16, **kwargs, **PLAIN)
        train(task, data, limit_train_batches=1, limit_val_batches=0)
        assert (task.network.transform.min_size[-1], task.network.transform.max_size) == expected
        batch, _ = task.network.train().transform([torch.rand(3, 90, 70)])
        assert batch.image_sizes == [(90, 70)]  # the augmentation is training's only resizing


@pytest.mark.parametrize(
    ("name", "kwargs", "data", "message"),
    [
        ("mask_rcnn_gpvit_nano", SMALL, {"masks": False}, "learns masks: set data.masks true, or train a RetinaNet"),
        ("retinanet_gpvit_nano", {}, {}, "training takes images at their own size: set model.min_size"),
        ("retinanet_gpvit_nano", {**SMALL, "num_classes": 2}, {}, "leave out num_classes of the model"),
        ("retinanet_gpvit_nano", {**SMALL, "resize_in_training": True}, {}, "leave out resize_in_training"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(name, kwargs, data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        train(DetectionTask(name, **kwargs, **PLAIN), Rectangles(**data))
