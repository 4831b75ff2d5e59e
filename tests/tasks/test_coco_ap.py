import json
import math

import numpy as np
import pycocotools.mask as reference_codec
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gpvit.data.detection.categories import Categories
from gpvit.tasks.coco_ap import DetectionScores

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
CATEGORIES = Categories(("cat", "dog", "owl", "never"), (17, 3, 90, 4))
HEIGHT, WIDTH = 160, 200


def ellipses(boxes):
    """Masks that fill their boxes but for the corners."""
    rows, columns = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH) + 0.5
    middle, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    across = (columns - middle[:, 0, None, None]) / radius[:, 0, None, None]
    down = (rows - middle[:, 1, None, None]) / radius[:, 1, None, None]
    return (across**2 + down**2 <= 1).to(torch.uint8)


def random_boxes(random, count):
    sides = torch.from_numpy(random.uniform(6, 130, (count, 2))).float()
    corner = torch.from_numpy(random.uniform(0, 1, (count, 2))).float() * (torch.tensor([WIDTH, HEIGHT]) - sides)
    return torch.cat([corner, corner + sides], dim=1)


def random_case(seed, image_id):
    """Objects, some of them crowds, and detections near them, beside them and of the wrong class."""
    random = np.random.default_rng([seed, image_id])
    truth = random_boxes(random, random.integers(0, 9))
    labels = torch.from_numpy(random.integers(1, 4, len(truth)))
    near = truth.repeat(2, 1) + torch.from_numpy(random.normal(0, 4, (2 * len(truth), 4))).float()
    found = torch.cat([near, random_boxes(random, random.integers(0, 4))])
    found[:, 2:] = torch.maximum(found[:, 2:], found[:, :2] + 2)
    found_labels = torch.cat([labels.repeat(2), torch.from_numpy(random.integers(1, 5, len(found) - 2 * len(truth)))])
    wrong = torch.from_numpy(random.random(len(found)) < 0.2)
    found_labels[wrong] = torch.from_numpy(random.integers(1, 5, int(wrong.sum())))
    masks = ellipses(truth)
    target = {
        "boxes": truth,
        "labels": labels,
        "masks": masks,
        "iscrowd": torch.from_numpy((random.random(len(truth)) < 0.15).astype(np.int64)),
        "area": masks.flatten(1).sum(1).float(),
        "image_id": image_id,
    }
    scores = torch.from_numpy(random.random(len(found))).float()
    return {"boxes": found, "labels": found_labels, "scores": scores, "masks": ellipses(found)}, target


def random_cases(seed, images=range(12)):
    detections, targets = zip(*(random_case(seed, image) for image in images), strict=True)
    return list(detections), list(targets)


def reference_entries(values, image_id):
    entries = []
    for index, (box, label, mask) in enumerate(zip(values["boxes"], values["labels"], values["masks"], strict=True)):
        left, top, right, bottom = box.double().tolist()
        entry = {"image_id": image_id, "category_id": CATEGORIES.ids[int(label) - 1]}
        entry["bbox"] = [left, top, right - left, bottom - top]
        entry["segmentation"] = reference_codec.encode(np.asfortranarray(mask.numpy()))
        if "scores" in values:
            entry["score"] = float(values["scores"][index])
        else:
            entry |= {"iscrowd": int(values["iscrowd"][index]), "area": float(values["area"][index])}
        entries.append(entry)
    return entries


def reference(detections, targets):
    """Score by pycocotools, as its own demonstration does."""
    truth = COCO()
    annotations = [entry for target in targets for entry in reference_entries(target, target["image_id"])]
    truth.dataset = {
        "info": {},
        "images": [{"id": target["image_id"], "height": HEIGHT, "width": WIDTH} for target in targets],
        "categories": [{"id": id_, "name": name} for id_, name in zip(CATEGORIES.ids, CATEGORIES.names, strict=True)],
        "annotations": [{**entry, "id": number} for number, entry in enumerate(annotations, start=1)],
    }
    truth.createIndex()
    results = [
        entry
        for found, target in zip(detections, targets, strict=True)
        for entry in reference_entries(found, target["image_id"])
    ]
    scores = {}
    for name, kind, other in (("box", "bbox", "segmentation"), ("mask", "segm", "bbox")):
        loaded = truth.loadRes([{key: value for key, value in entry.items() if key != other} for entry in results])
        evaluation = COCOeval(truth, loaded, kind)
        evaluation.params.catIds = list(CATEGORIES.ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        figures = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
        scores |= {f"{name}_{figure}": evaluation.stats[place] for place, figure in enumerate(figures)}
        order = [evaluation.params.catIds.index(id_) for id_ in CATEGORIES.ids]
        scores[f"{name}_ap_per_class"] = evaluation.eval["precision"][:, :, order, 0, 2].mean((0, 1))
    return scores


def assert_equal(scores, expected):
    assert set(scores) == set(expected)
    for name, value in expected.items():
        value = np.where(np.asarray(value) < 0, np.nan, value)
        np.testing.assert_allclose(scores[name].numpy(), value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("seed", range(8))
def test_equal_to_pycocotools(seed):
    detections, targets = random_cases(seed)
    scores = DetectionScores(CATEGORIES.names)
    for start in range(0, 12, 5):
        scores.update(detections[start : start + 5], targets[start : start + 5])
    computed = scores.compute()
    assert_equal(computed, reference(detections, targets))
    assert 0.1 < computed["mask_ap"] < 0.9
    assert math.isnan(computed["box_ap_per_class"][3])


def test_more_detections_than_count():
    random = np.random.default_rng(0)
    detections, targets = random_cases(3, range(2))
    for found in detections:
        boxes = random_boxes(random, 400)
        labels = torch.from_numpy(random.integers(1, 5, 400))
        more = {"boxes": boxes, "labels": labels, "scores": torch.rand(400), "masks": ellipses(boxes)}
        found.update({name: torch.cat([value, more[name]]) for name, value in found.items()})
    scores = DetectionScores(CATEGORIES.names)
    scores.update(detections, targets)
    assert_equal(scores.compute(), reference(detections, targets))


def test_masks_in_any_form_score_alike():
    detections, targets = random_cases(1)
    results = []
    for form in (
        lambda masks: masks,
        lambda masks: masks.bool(),
        lambda masks: (masks * 0.7 + 0.1)[:, None],
        lambda masks: [reference_codec.encode(np.asfortranarray(mask)) for mask in masks.numpy()],
    ):
        scores = DetectionScores(CATEGORIES.names)
        scores.update([{**found, "masks": form(found["masks"])} for found in detections], targets)
        results.append({name: value.tolist() for name, value in scores.compute().items()})
    assert all(str(result) == str(results[0]) for result in results)


def test_boxes_alone():
    detections, targets = random_cases(2)
    scores, both = DetectionScores(CATEGORIES.names, masks=False), DetectionScores(CATEGORIES.names)
    both.update(detections, targets)
    for values in (*detections, *targets):
        values.pop("masks")
    scores.update(detections, targets)
    expected = {name: value for name, value in both.compute().items() if name.startswith("box")}
    computed = scores.compute()
    assert set(computed) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(computed[name], value, equal_nan=True)


def test_areas_are_those_of_the_masks_where_they_are_not_given():
    detections, targets = random_cases(4)
    scores, without = DetectionScores(CATEGORIES.names), DetectionScores(CATEGORIES.names)
    scores.update(detections, targets)
    without.update(detections, [{key: value for key, value in target.items() if key != "area"} for target in targets])
    torch.testing.assert_close(scores.compute(), without.compute(), equal_nan=True)


def test_an_image_that_comes_twice_counts_once():
    detections, targets = random_cases(5)
    scores = DetectionScores(CATEGORIES.names)
    scores.update(detections, targets)
    expected = scores.compute()
    scores.update(detections[:4], targets[:4])
    torch.testing.assert_close(scores.compute(), expected, equal_nan=True)


def test_two_images_of_one_number_are_refused():
    detections, targets = random_cases(5)
    targets[1]["image_id"] = targets[2]["image_id"] = 77
    scores = DetectionScores(CATEGORIES.names)
    scores.update(detections, targets)
    with pytest.raises(ValueError, match=r"image_id 77 is of two different images"):
        scores.compute()


def test_nothing_found_and_nothing_there():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    there = {"boxes": torch.tensor([[1.0, 1, 50, 50]]), "labels": torch.tensor([2])}
    none = {**nothing, "scores": torch.zeros(0)}
    scores = DetectionScores(CATEGORIES.names, masks=False)
    scores.update([none], [{**nothing, "image_id": 0}])
    assert math.isnan(scores.compute()["box_ap"])
    scores.update([none], [{**there, "image_id": 1}])
    computed = scores.compute()
    assert computed["box_ap"] == computed["box_ap_medium"] == computed["box_ap_per_class"][1] == 0
    assert math.isnan(computed["box_ap_small"])
    scores.reset()
    scores.update(
        [{**there, "scores": torch.tensor([0.1])}, none], [{**there, "image_id": 4}, {**nothing, "image_id": 2}]
    )
    assert scores.compute()["box_ap"] == 1


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("found", {"boxes": torch.full((1, 4), math.nan)}, r"image 0: boxes that are no finite numbers"),
        ("found", {"scores": torch.tensor([math.inf])}, r"image 0: scores that are no finite"),
        ("found", {"labels": torch.tensor([5])}, r"label 5 stands for no category; labels go from 1 to 4"),
        ("found", {"labels": torch.tensor([0])}, r"label 0 stands for no category"),
        ("found", {"masks": torch.zeros(1, 7, 8)}, r"image 0: masks of different sizes.*\(5, 6\), \(7, 8\)"),
        ("truth", {"masks": None}, r"image 0: \['masks'\] missing; there are \['boxes', 'image_id', 'labels'\]"),
        ("found", {"scores": None}, r"image 0: \['scores'\] missing"),
    ],
)
def test_bad_values_are_named(where, change, message):
    truth = {"boxes": torch.tensor([[0.0, 0, 4, 4]]), "labels": torch.tensor([1]), "masks": torch.ones(1, 5, 6)}
    values = {"found": {**truth, "scores": torch.tensor([0.5])}, "truth": {**truth, "image_id": 0}}
    values[where] = {key: value for key, value in {**values[where], **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        DetectionScores(CATEGORIES.names).update([values["found"]], [values["truth"]])


def test_numbers_of_images_must_agree():
    detections, targets = random_cases(0)
    with pytest.raises(ValueError, match="11 detections for the targets of 12"):
        DetectionScores(CATEGORIES.names).update(detections[:11], targets)


def test_coco_results_score_the_same_in_pycocotools():
    detections, targets = random_cases(6)
    scores = DetectionScores(CATEGORIES.names)
    scores.update(detections, targets)
    results = json.loads(json.dumps(scores.to_coco_results(CATEGORIES)))
    expected = [
        entry
        for found, target in zip(detections, targets, strict=True)
        for entry in reference_entries(found, target["image_id"])
    ]
    assert len(results) == len(expected)
    for entry, other in zip(results, expected, strict=True):
        assert entry.keys() == other.keys() == {"image_id", "category_id", "bbox", "score", "segmentation"}
        assert entry["category_id"] == other["category_id"]
        assert entry["bbox"] == pytest.approx(other["bbox"])
        assert (reference_codec.decode(entry["segmentation"]) == reference_codec.decode(other["segmentation"])).all()


SHARES = {
    "equal": [range(0, 12, 2), range(1, 12, 2)],
    "some twice, as a distributed sampler does": [[3, 1, 8, 0, 11, 9, 2], [10, 7, 4, 5, 6, 3, 1]],
    "unequal": [[3, 1, 8, 0, 11, 9, 2], [10, 7, 4, 5, 6]],
    "one process has none": [range(12), []],
}


def score_shares(rank, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    scores = DetectionScores(CATEGORIES.names)
    found = {}
    for name, images in SHARES.items():
        scores.reset()
        for image in images[rank]:
            scores.update(*random_cases(7, [image]))
        found[name] = {key: value.tolist() for key, value in scores.compute().items()}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_two_processes_score_as_one(tmp_path):
    torch.multiprocessing.start_processes(score_shares, (tmp_path,), nprocs=2, start_method="fork")
    alone = DetectionScores(CATEGORIES.names)
    alone.update(*random_cases(7))
    expected = {key: value.tolist() for key, value in alone.compute().items()}
    for rank in range(2):
        computed = json.loads((tmp_path / f"{rank}.json").read_text())
        assert list(computed) == list(SHARES)
        for name, values in computed.items():
            assert str(values) == str(expected), name


@pytest.mark.parametrize(("most", "share"), [(100, 100 / 150), (10**6, 1.0)])
def test_of_many_objects_the_surest_count_up_to_a_number(most, share):
    corners = torch.stack(torch.meshgrid(torch.arange(15.0), torch.arange(10.0), indexing="ij"), -1).reshape(-1, 2) * 10
    boxes = torch.cat([corners, corners + 8], 1)
    scores = DetectionScores(["cat"], masks=False, most=most)
    labels = torch.ones(len(boxes), dtype=torch.long)
    scores.update(
        [{"boxes": boxes, "labels": labels, "scores": torch.linspace(0.9, 0.1, len(boxes))}],
        [{"boxes": boxes, "labels": labels, "image_id": 7}],
    )
    assert float(scores.compute()["box_ap"]) == pytest.approx(share, abs=0.02)
