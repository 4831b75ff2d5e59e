import json
import re

import pytest
import torch
from lightning import Trainer
from tasks.objects import Rectangles
from torch import nn

import gpvit
from gpvit.data.detection import DetectionData
from gpvit.data.transforms.detection import DetectionAugmentation
from gpvit.tasks import DetectionTask, evaluate_detector
from gpvit.tasks.detection import detect
from gpvit.tasks.metrics.coco_ap import DetectionScores
from gpvit.train import build_trainer, fit
from gpvit.zoo.files import read_checkpoint

DETECTORS = ["mask_rcnn_gpvit_nano", "retinanet_gpvit_nano"]
SMALL = {"min_size": 64, "channels": 16}
PLAIN = {"milestones": None, "warmup_steps": 0}
LOSSES = {
    "mask_rcnn_gpvit_nano": {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"},
    "retinanet_gpvit_nano": {"classification", "bbox_regression"},
}


def run(task: DetectionTask, data: DetectionData, **options) -> Trainer:
    quiet = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", devices=1, num_sanity_val_steps=0, **{**quiet, **options})
    trainer.fit(task, datamodule=data)
    return trainer


def small(name: str, **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return gpvit.create_model(name, **{"num_classes": 2, **SMALL, **kwargs})


def seeing(network: nn.Module) -> nn.Module:
    """Let everything count as an object, so that a network that learned nothing finds something."""
    (network.roi_heads if network.has_masks else network).score_thresh = 0.0
    return network


@pytest.mark.parametrize("name", DETECTORS)
def test_losses_add_up_and_scores_are_logged(name):
    task = DetectionTask(name, {**SMALL, "drop_path_rate": 0.1}, **PLAIN)
    trainer = run(task, Rectangles(), limit_val_batches=1)
    assert task.network.num_classes == 2
    metrics = trainer.callback_metrics
    parts = {f"train/{loss}" for loss in LOSSES[name]}
    kinds = ("box", "mask") if task.network.has_masks else ("box",)
    scores = {f"val/{kind}_{figure}" for kind in kinds for figure in ("ap", "ap50", "ap75")}
    assert set(metrics) == {*parts, *scores, "train/loss", "loss"}
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


def test_it_learns_a_few_pictures_by_heart():
    torch.manual_seed(0)
    kwargs = {**SMALL, "head_kwargs": {"anchor_scale": 4.0, "rois_per_image": 16}}
    task = DetectionTask("mask_rcnn_gpvit_nano", kwargs, lr=4e-3, **PLAIN)
    trainer = run(task, Rectangles(), max_epochs=12, check_val_every_n_epoch=12, gradient_clip_val=10.0)
    assert trainer.callback_metrics["val/box_ap50"] > 0.3
    assert trainer.callback_metrics["val/mask_ap50"] > 0.3
    assert task.val_scores.update_called is False  # each validation starts from nothing


def test_a_plain_transformer_of_timm_can_be_trained():
    kwargs = {**SMALL, "channels": 16, "backbone_kwargs": {"img_size": 64}}
    task = DetectionTask("retinanet_vit_tiny_patch16_224", kwargs, **PLAIN)
    trainer = run(task, Rectangles(masks=False), limit_train_batches=1, limit_val_batches=0)
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
def test_evaluation_agrees_with_validation_and_with_the_written_results(name, tmp_path):
    class Seeing(DetectionTask):
        def configure_model(self) -> None:
            super().configure_model()
            seeing(self.network)

    torch.manual_seed(0)
    task = Seeing(name, {**SMALL}, lr=0.0, **PLAIN)
    trainer = run(task, Rectangles(), limit_train_batches=1)
    data, network = Rectangles(), task.network
    network.pretrained_cfg |= {"label_names": ["white", "black"], "category_ids": [3, 7]}
    if network.has_masks:
        network.mask_format = "probability"
    scores = evaluate_detector(network, data, "cpu", results=tmp_path / "results.json")
    for name_, value in trainer.callback_metrics.items():
        if name_.startswith("val/"):
            assert scores[name_.removeprefix("val/")] == pytest.approx(value.item(), abs=1e-5)
    assert (scores["images"], list(scores["classes"])) == (4, ["white", "black"])
    kinds = ["box", "mask"] if network.has_masks else ["box"]
    for kind in kinds:
        assert {f"{kind}_{figure}" for figure in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")} <= set(
            scores
        )
        each = [facts[f"{kind}_ap"] for facts in scores["classes"].values()]
        assert sum(each) / 2 == pytest.approx(scores[f"{kind}_ap"], abs=1e-5)
    assert scores["box_ap_large"] is None  # there is no object of 96 x 96 pixels
    assert not network.has_masks or network.mask_format == "probability"  # as it was given

    results = json.loads((tmp_path / "results.json").read_text())
    assert {entry["category_id"] for entry in results} <= {3, 7}
    assert all(("segmentation" in entry) == network.has_masks for entry in results)
    again = DetectionScores(["white", "black"], masks=network.has_masks)
    data.setup("validate")
    for _, target in (data.val_set[i] for i in range(4)):
        found = [entry for entry in results if entry["image_id"] == target["image_id"]]
        boxes = torch.tensor([entry["bbox"] for entry in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        detection = {
            "boxes": boxes,
            "labels": torch.tensor([{3: 1, 7: 2}[entry["category_id"]] for entry in found]),
            "scores": torch.tensor([entry["score"] for entry in found]),
            "masks": [entry.get("segmentation") for entry in found],
        }
        again.update([detection], [target])
    assert again.compute()["box_ap50"].item() == pytest.approx(scores["box_ap50"], abs=1e-5)


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["white", "grey"], [3, 7], "only the model has ['grey'], only the data has ['black']"),
        (["white"], [3], "only the model has [], only the data has ['black']"),
        (["black", "white"], [3, 7], "'black' has id 3 and 7"),
        (["black", "white"], None, "class 0 is 'black' for the model and 'white' in the data"),
        (["black", "white"], [7, 3], "the order is ['black', 'white'] and ['white', 'black']"),
        (None, None, "tells 5 classes apart, the data have 2"),
    ],
)
def test_a_model_of_other_classes_is_not_evaluated(names, ids, message):
    network = small("retinanet_gpvit_nano", num_classes=len(names or range(5)))
    network.pretrained_cfg |= {"label_names": names, "category_ids": ids}
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate_detector(network, Rectangles())


def test_weights_describe_themselves(tmp_path):
    torch.manual_seed(0)
    data = Rectangles()
    task = DetectionTask("mask_rcnn_gpvit_nano", {**SMALL, "backbone_kwargs": {"img_size": 64}}, **PLAIN)
    trainer = build_trainer(tmp_path / "run", accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False)
    summary = fit(trainer, task, data)
    assert {"epoch", "train/loss_mask", "val/mask_ap", "val/box_ap"} <= set(summary["last"])
    inputs = read_checkpoint(tmp_path / "run" / "last.safetensors").inputs
    assert (inputs["label_names"], inputs["category_ids"]) == (["white", "black"], [3, 7])
    assert inputs["label_colors"] == [list(color) for color in data.colors]
    assert inputs["max_size"] == [1333, 64]
    assert {"boxes.csv", "data.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    network = gpvit.load(tmp_path / "run" / "last.safetensors")
    image = torch.rand(3, 80, 60)
    with torch.no_grad():
        ours, theirs = (seeing(model).eval()([image])[0] for model in (task.network, network))
    assert len(ours["boxes"]) > 0
    assert torch.equal(ours["boxes"], theirs["boxes"])


@pytest.mark.parametrize("name", DETECTORS)
def test_finetuning_renews_only_what_depends_on_the_classes(name, tmp_path, capsys):
    start = small(name, num_classes=5)
    gpvit.save(start, tmp_path / "start.safetensors")
    task = DetectionTask(name, {**SMALL}, weights=str(tmp_path / "start.safetensors"), lr=0.0, **PLAIN)
    run(task, Rectangles(), limit_train_batches=1, limit_val_batches=0)
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
    task = DetectionTask("retinanet_gpvit_nano", {**SMALL}, backbone_weights=path, lr=0.0, **PLAIN)
    run(task, Rectangles(masks=False), limit_train_batches=1, limit_val_batches=0)
    assert "loaded into the backbone" in capsys.readouterr().err
    ours = dict(task.network.backbone.body.backbone.named_parameters())
    assert all(torch.equal(ours[name], t) for name, t in start.named_parameters() if name.startswith("blocks"))


@pytest.mark.parametrize(
    ("milestones", "steps", "expected"),
    [
        ((2, 3), 9, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01]),  # two steps an epoch
        (None, 4, [1, 0.75, 0.5, 0.25, 0]),
        ((), 3, [1, 1, 1]),
    ],
)
def test_the_rates_follow_the_schedule(milestones, steps, expected):
    task = DetectionTask("retinanet_gpvit_nano", {**SMALL}, lr=0.1, milestones=milestones, warmup_steps=0)
    task.trainer = Trainer(
        accelerator="cpu", max_epochs=5 if milestones else 2, logger=False, enable_checkpointing=False
    )
    data = Rectangles(masks=False)
    data.setup("fit")
    task.trainer.strategy.connect(task)
    task.trainer._data_connector.attach_data(task, datamodule=data)
    task.configure_model()
    task.trainer.state.fn = "fit"
    factor = task.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(step) for step in range(len(expected))] == pytest.approx(expected)


def test_milestones_beyond_the_end_are_warned_of():
    task = DetectionTask("retinanet_gpvit_nano", {**SMALL})
    with pytest.warns(UserWarning, match=r"the run ends before its learning rate falls after the epochs \[8, 11\]"):
        trainer = run(task, Rectangles(masks=False), limit_train_batches=1, limit_val_batches=0)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(2e-4 * (1e-3 + (1 - 1e-3) / 500))


def test_evaluation_sees_the_largest_size_of_training():
    augmentation = DetectionAugmentation(short_sides=(48, 64, 56), long_side=100)
    data = Rectangles(masks=False, augmentation=augmentation)
    for kwargs, expected in [({}, (64, 100)), ({"min_size": 40}, (40, 1333)), ({"max_size": 80}, (64, 80))]:
        task = DetectionTask("retinanet_gpvit_nano", {"channels": 16, **kwargs}, **PLAIN)
        run(task, data, limit_train_batches=1, limit_val_batches=0)
        assert (task.network.transform.min_size[-1], task.network.transform.max_size) == expected
        batch, _ = task.network.train().transform([torch.rand(3, 90, 70)])
        assert batch.image_sizes == [(90, 70)]  # the augmentation is training's only resizing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mask_rcnn_gpvit_nan"}, "unknown model 'mask_rcnn_gpvit_nan'; did you mean"),
        ({"name": "gpvit_nano"}, "gpvit_nano is a model for classification, not for detection"),
        ({"name": "upernet_gpvit_nano"}, "upernet_gpvit_nano is a model for segmentation, not for detection"),
        ({"name": "retinanet_gpvit_nano", "model_kwargs": {"drop_path": 0.1}}, "did you mean drop_path_rate"),
    ],
)
def test_a_wrong_model_is_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        DetectionTask(**arguments)


@pytest.mark.parametrize(
    ("name", "kwargs", "data", "message"),
    [
        ("mask_rcnn_gpvit_nano", SMALL, {"masks": False}, "learns masks: set data.masks true, or train a RetinaNet"),
        ("retinanet_gpvit_nano", {}, {}, "training takes pictures at their own size: set model.model_kwargs.min_size"),
        ("retinanet_gpvit_nano", {**SMALL, "num_classes": 2}, {}, "states num_classes; the data says so already"),
        ("retinanet_gpvit_nano", {**SMALL, "resize_in_training": True}, {}, "states resize_in_training"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(name, kwargs, data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        run(DetectionTask(name, {**kwargs}, **PLAIN), Rectangles(**data))


def test_a_loss_that_is_not_finite_ends_the_run():
    class Broken(DetectionTask):
        def configure_model(self) -> None:
            super().configure_model()
            nn.init.constant_(self.network.head.classification_head.cls_logits.bias, float("nan"))

    with pytest.raises(ValueError, match=r"the loss is nan at step 0.*lower lr, or clip gradients"):
        run(Broken("retinanet_gpvit_nano", {**SMALL}, **PLAIN), Rectangles(masks=False))
