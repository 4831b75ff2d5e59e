import json
import re

import pytest
import torch
from tasks.objects import Rectangles
from tasks.patches import Patches
from tasks.plain import SMALL, TASKS, optim, train
from torch import nn

import gpvit
from gpvit.inference.inferers import WholeImage
from gpvit.tasks.coco_ap import DetectionScores
from gpvit.tasks.evaluate import evaluate

DETECTORS = ["mask_rcnn_gpvit_nano", "retinanet_gpvit_nano"]


def seeing(network: nn.Module) -> nn.Module:
    """Let everything count as an object, so that a network that learned nothing finds something."""
    (network.roi_heads if network.has_masks else network).score_thresh = 0.0
    return network


@pytest.mark.parametrize("name", TASKS)
def test_evaluation_agrees_with_validation(name):
    torch.manual_seed(0)
    kind, arguments, data = TASKS[name]
    task = kind(name, optim=optim(kind, lr=0.0), **arguments)
    task.build(data())
    if name == "mask_rcnn_gpvit_nano":
        seeing(task.network)
    images = data()
    images.batch_size = 2 if name != "gpvit_nano" else 50
    trainer = train(task, images, limit_train_batches=1)
    scores = evaluate(task.network, images, device="cpu")
    validated = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    assert {name: scores[name.removeprefix("val/")] for name in validated} == {
        name: pytest.approx(value.item(), abs=1e-5) for name, value in validated.items()
    }
    assert scores["images"] == len(images.val_set)


@pytest.mark.parametrize("name", DETECTORS)
def test_written_results_score_alike(name, tmp_path):
    torch.manual_seed(0)
    data = Rectangles()
    network = seeing(gpvit.create_model(name, num_classes=2, **SMALL))
    network.pretrained_cfg |= {"label_names": ["white", "black"], "category_ids": [3, 7]}
    scores = evaluate(network, data, device="cpu", results=tmp_path / "results.json")
    assert (scores["images"], list(scores["classes"])) == (4, ["white", "black"])
    kinds = ["box", "mask"] if network.has_masks else ["box"]
    for kind in kinds:
        figures = {f"{kind}_{figure}" for figure in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")}
        assert figures <= scores.keys()
        each = [facts[f"{kind}_ap"] for facts in scores["classes"].values()]
        assert sum(each) / 2 == pytest.approx(scores[f"{kind}_ap"], abs=1e-5)
    assert scores["box_ap_large"] is None  # there is no object of 96 x 96 pixels
    assert not network.has_masks or network.mask_format == "probability"  # as it was given

    results = json.loads((tmp_path / "results.json").read_text())
    assert {entry["category_id"] for entry in results} <= {3, 7}
    assert all(("segmentation" in entry) == network.has_masks for entry in results)
    again = DetectionScores(["white", "black"], masks=network.has_masks)
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


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_from_worker_processes_too(workers):
    torch.manual_seed(0)
    data, model = Patches(), gpvit.create_model("segformer_gpvit_nano", num_classes=3)
    data.num_workers = workers
    assert evaluate(model, data, device="cpu")["images"] == 4


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["white", "grey"], [3, 7], "only the model has ['grey'], only the data has ['black']"),
        (["white"], [3], "only the model has [], only the data has ['black']"),
        (["black", "white"], None, "class 0 is 'black' for the model and 'white' in the data"),
        (None, None, "tells 5 classes apart, the data have 2"),
    ],
)
def test_a_model_of_other_classes_is_not_evaluated(names, ids, message):
    network = gpvit.create_model("retinanet_gpvit_nano", num_classes=len(names or range(5)), **SMALL)
    network.pretrained_cfg |= {"label_names": names, "category_ids": ids}
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate(network, Rectangles(masks=False))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"inferer": WholeImage()}, "leave out inferer: the model is for classification, and sees images whole"),
        ({"results": "found.json"}, "leave out results: it is for detection, and the model is for classification"),
    ],
)
def test_an_option_of_another_task_is_refused(option, message):
    _, _, data = TASKS["gpvit_nano"]
    with pytest.raises(ValueError, match=message):
        evaluate(gpvit.create_model("gpvit_nano", num_classes=10), data(), **option)


def test_what_is_not_finite_is_refused():
    data = TASKS["gpvit_nano"][2]()
    model = gpvit.create_model("gpvit_nano", num_classes=10, in_chans=1, img_size=32)
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        evaluate(model, data, device="cpu")
