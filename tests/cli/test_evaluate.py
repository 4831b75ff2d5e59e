import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.detection.folders import write_voc, write_yolo, xml
from PIL import Image

import gpvit
from gpvit.cli import main
from gpvit.data import Digits, Preprocessing
from gpvit.data.detection import DigitScenes as DetectionScenes
from gpvit.data.segmentation import DigitScenes
from gpvit.data.segmentation.folders import ade20k_classes
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.zoo.catalog import MODELS, Weights

CLASSES = ("cat", "dog")


def checkpoint(path: Path, class_names: list[str], preprocessing: Preprocessing) -> Path:
    torch.manual_seed(0)
    channels, *size = preprocessing.input_size
    model = gpvit.create_model("gpvit_nano", num_classes=len(class_names), in_chans=channels, img_size=tuple(size))
    gpvit.save(model, path, class_names, preprocessing.to_dict())
    return path


@pytest.fixture
def for_digits(tmp_path) -> Path:
    return checkpoint(tmp_path / "digits.safetensors", [str(i) for i in range(10)], Digits(image_size=40).preprocessing)


@pytest.fixture
def folder(tmp_path) -> Path:
    random = np.random.default_rng(0)
    for i in range(6):
        path = tmp_path / "images" / "val" / CLASSES[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_digits_are_scored_as_the_checkpoint_prepares_them(for_digits, tmp_path, capsys):
    assert main(["evaluate", str(for_digits), "--data", "digits", "--json", str(tmp_path / "scores.json")]) == 0
    table = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert f"{scores['top1']:.2%}" in table
    assert scores["images"] == 500
    data = Digits(image_size=40)
    data.setup("validate")
    images, labels = data.val_set.tensors
    with torch.no_grad():
        right = gpvit.load(for_digits)(images).argmax(1) == labels
    assert scores["top1"] == pytest.approx(right.float().mean().item(), abs=1e-6)


def test_a_folder_of_images_is_scored(folder, tmp_path, capsys):
    path = checkpoint(tmp_path / "pets.safetensors", list(CLASSES), Preprocessing((3, 48, 32)))
    assert main(["evaluate", str(path), "--data", str(folder), "--num-workers", "0", "--json", "-"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["images"] == 6
    assert "top5" not in scores


def test_other_classes_are_refused(for_digits, folder, tmp_path, capsys):
    assert main(["evaluate", str(for_digits), "--data", str(folder)]) == 1
    assert "tells 10 classes apart, the data have 2" in capsys.readouterr().err
    path = checkpoint(tmp_path / "pets.safetensors", ["dog", "cat"], Preprocessing((3, 32, 32)))
    assert main(["evaluate", str(path), "--data", str(folder)]) == 1
    assert "class 0 is 'dog' for the model and 'cat' in the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.safetensors", "no checkpoint at absent.safetensors"),
        ("gpvit_nano", "names no trained weights"),
        ("gpvit_nano.in1k", "gpvit_nano has no weights 'in1k'"),
    ],
)
def test_what_holds_no_weights_is_refused(name, message, capsys):
    assert main(["evaluate", name]) == 1
    assert message in capsys.readouterr().err


def test_a_gray_model_whose_configuration_describes_colour(folder, tmp_path, capsys):
    model = gpvit.create_model("gpvit_nano", num_classes=2, in_chans=1)
    gpvit.save(model, tmp_path / "gray.safetensors", CLASSES, Preprocessing((3, 32, 32)).to_dict())
    arguments = ["--data", str(folder), "--num-workers", "0", "--json", "-"]
    assert main(["evaluate", str(tmp_path / "gray.safetensors"), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6


def test_a_damaged_image_is_named_in_one_line(folder, tmp_path, capsys):
    path = checkpoint(tmp_path / "pets.safetensors", list(CLASSES), Preprocessing((3, 32, 32)))
    bad = folder / "val" / "cat" / "bad.png"
    bad.write_bytes((folder / "val" / "cat" / "0.png").read_bytes()[:500])
    assert main(["evaluate", str(path), "--data", str(folder), "--num-workers", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpvit evaluate: {bad} is damaged or truncated")


def test_an_absent_device_is_refused(for_digits, capsys):
    assert main(["evaluate", str(for_digits), "--device", "toaster"]) == 1
    assert "device 'toaster' cannot be used here" in capsys.readouterr().err


def test_progress_leaves_stdout_alone(for_digits, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(["evaluate", str(for_digits), "--json", "-"]) == 0
    text, progress = capsys.readouterr()
    assert json.loads(text)["images"] == 500
    assert "evaluating" in progress


def test_absent_data_are_refused(for_digits, capsys):
    assert main(["evaluate", str(for_digits), "--data", "no/such/folder"]) == 1
    assert "no/such/folder" in capsys.readouterr().err


def segmenter(path: Path, class_names: list[str], preprocessing: SegmentationPreprocessing) -> Path:
    torch.manual_seed(0)
    channels = preprocessing.input_size[0]
    model = gpvit.create_model("segformer_gpvit_nano", num_classes=len(class_names), in_chans=channels).eval()
    with torch.no_grad():  # every class is the most probable one somewhere
        model.decoder.classifier.bias -= model(torch.randn(2, channels, 64, 64)).mean((0, 2, 3))
    gpvit.save(model, path, class_names, preprocessing.to_dict())
    return path


@pytest.fixture
def for_masks(tmp_path) -> Path:
    preprocessing = SegmentationPreprocessing((3, 64, 64), max_size=(128, 64))
    return segmenter(tmp_path / "shapes.safetensors", ["ground", "cat", "dog"], preprocessing)


@pytest.fixture
def masks(tmp_path) -> Path:
    """Three pictures of different sizes; no pixel is a dog."""
    root = tmp_path / "shapes"
    random = np.random.default_rng(0)
    for i in range(3):
        size = (40 + i, 60 - i)
        label = random.integers(0, 2, size).astype(np.uint8)
        label[:5] = 255
        for kind, pixels in (("images", random.integers(0, 255, (*size, 3), dtype=np.uint8)), ("masks", label)):
            path = root / kind / "val" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (root / "classes.yaml").write_text("names: [ground, cat, dog]")
    return root


def test_a_folder_of_masks_is_scored(for_masks, masks, tmp_path, capsys):
    assert main(["evaluate", str(for_masks), "--data", str(masks), "--json", str(tmp_path / "scores.json")]) == 0
    table = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == 3
    assert 0 <= scores["miou"] <= 1
    assert f"{scores['miou']:.2%}" in table
    assert list(scores["classes"]) == ["ground", "cat", "dog"]
    assert scores["classes"]["dog"]["acc"] is None
    known = {name: facts["iou"] for name, facts in scores["classes"].items() if facts["iou"] is not None}
    worst = [line for line in table.splitlines() if "worst" in line]
    assert [any(name in line for line in worst) for name in known] == [v == min(known.values()) for v in known.values()]


@pytest.mark.parametrize(
    "options", [["--flip"], ["--scales", "0.5,1.0"], ["--window", "32"], ["--window", "32", "--flip"]]
)
@pytest.mark.slow
def test_every_way_to_label_scores_the_same_pictures(options, for_masks, masks, capsys):
    assert main(["evaluate", str(for_masks), "--data", str(masks), "--json", "-"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(for_masks), "--data", str(masks), "--json", "-", *options]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores.keys() == plain.keys()
    assert scores["images"] == 3
    assert scores["aacc"] != plain["aacc"]  # random weights answer each view in another way


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scales", "0.5;1"], "scales '0.5;1': give factors above 0"),
        (["--scales", "1", "--window", "64"], "choose one"),
        (["--scales", "-1"], "scales '-1': give factors above 0"),
        (["--window", "30"], "32 or more"),
        (["--batch-size", "8"], "leave out --batch-size: a segmenter takes its images one by one"),
        (["--data", "no/such/folder"], "no/such/folder: no such folder"),
    ],
)
def test_wrong_options_of_a_segmenter_are_named(options, message, for_masks, masks, capsys):
    data = [] if "--data" in options else ["--data", str(masks)]
    assert main(["evaluate", str(for_masks), *data, *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--flip"], ["--scales", "1.0"], ["--window", "512"], ["--overlap", "0"]])
def test_a_classifier_takes_no_option_of_segmenters(options, for_digits, capsys):
    assert main(["evaluate", str(for_digits), *options]) == 1
    error = capsys.readouterr().err
    assert f"leave out {options[0]}: it is for segmenters, and this is a classifier" in error


def test_masks_of_other_classes_are_refused(for_masks, masks, capsys):
    (masks / "classes.yaml").write_text("names: [ground, cat, horse]")
    assert main(["evaluate", str(for_masks), "--data", str(masks)]) == 1
    assert "class 2 is 'dog' for the model and 'horse' in the data" in capsys.readouterr().err
    (masks / "classes.yaml").write_text("names: [ground, cat]")
    assert main(["evaluate", str(for_masks), "--data", str(masks)]) == 1
    assert "tells 3 classes apart, the data have 2" in capsys.readouterr().err


def test_digit_scenes_are_a_segmenters_default(tmp_path, monkeypatch, capsys):
    defaults = list(DigitScenes.__init__.__defaults__)
    monkeypatch.setattr(DigitScenes.__init__, "__defaults__", (64, 1, 2, *defaults[3:]))  # two scenes of 64 pixels
    preprocessing = SegmentationPreprocessing((3, 64, 64), max_size=None)
    path = segmenter(tmp_path / "scenes.safetensors", ["background", *map(str, range(10))], preprocessing)
    assert main(["evaluate", str(path), "--json", "-"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["data"], scores["images"], len(scores["classes"])) == ("digit_scenes", 2, 11)


def test_ade20ks_layout_is_known(tmp_path, capsys):
    for kind, pixels in (("images", np.zeros((40, 50, 3), np.uint8)), ("annotations", np.full((40, 50), 1, np.uint8))):
        path = tmp_path / "ade" / kind / "validation" / "1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    names = list(ade20k_classes())
    path = segmenter(tmp_path / "ade.safetensors", names, SegmentationPreprocessing((3, 64, 64), max_size=(64, 64)))
    assert main(["evaluate", str(path), "--data", str(tmp_path / "ade"), "--json", "-"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["classes"][names[0]]["acc"] == scores["aacc"]  # label 1 is the first class


def detector(path: Path, system: str, class_names: list[str], category_ids: list[int] | None = None) -> Path:
    torch.manual_seed(0)
    model = gpvit.create_model(f"{system}_gpvit_nano", num_classes=len(class_names), min_size=64, channels=16)
    if system == "retinanet":  # at first it takes nothing for an object
        torch.nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    gpvit.save(model, path, class_names, {"category_ids": category_ids})
    return path


@pytest.fixture
def objects(tmp_path) -> Path:
    """Three pictures of different sizes with an object each; none is a horse."""
    root = tmp_path / "objects"
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    random = np.random.default_rng(0)
    document: dict = {
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": 11, "name": "horse"}],
        "images": [],
        "annotations": [],
    }
    for i in range(3):
        height, width = 60 + i, 80 - i
        Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(root / "val" / f"{i}.png")
        document["images"].append({"id": 10 + i, "file_name": f"{i}.png", "height": height, "width": width})
        box = {"bbox": [5, 5, 40, 30], "segmentation": [[5, 5, 45, 5, 45, 35, 5, 35]]}
        document["annotations"].append({"id": i, "image_id": 10 + i, "category_id": (3, 9)[i % 2], **box})
    (root / "annotations" / "val.json").write_text(json.dumps(document))
    return root


ANIMALS = (["cat", "dog", "horse"], [3, 9, 11])


@pytest.mark.parametrize("layout", ["folder", "coco"])
@pytest.mark.parametrize(("system", "kinds"), [("mask_rcnn", ["box", "mask"]), ("retinanet", ["box"])])
def test_a_folder_in_cocos_format_is_scored(system, kinds, layout, objects, tmp_path, capsys):
    if layout == "coco":
        (objects / "val").rename(objects / "val2017")
        (objects / "annotations" / "val.json").rename(objects / "annotations" / "instances_val2017.json")
    path = detector(tmp_path / "animals.safetensors", system, *ANIMALS)
    files = ["--json", str(tmp_path / "scores.json"), "--results", str(tmp_path / "found" / "results.json")]
    assert main(["evaluate", str(path), "--data", str(objects), "--num-workers", "0", *files]) == 0
    table = capsys.readouterr().out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == 3
    assert [name for name in scores if name.endswith("_ap50")] == [f"{kind}_ap50" for kind in kinds]
    assert scores["classes"]["horse"] == {f"{kind}_ap": None for kind in kinds}
    assert f"{scores['box_ap']:.2%}" in table
    assert all(f"{kind}_ap" in table for kind in kinds)
    results = json.loads((tmp_path / "found" / "results.json").read_text())
    assert {entry["image_id"] for entry in results} == {10, 11, 12}
    assert {entry["category_id"] for entry in results} <= {3, 9, 11}


def test_detection_scores_do_not_depend_on_the_batch(objects, tmp_path, capsys):
    path = detector(tmp_path / "animals.safetensors", "retinanet", *ANIMALS)
    printed = []
    for batch_size in ("1", "3"):
        arguments = ["--batch-size", batch_size, "--num-workers", "0", "--json", "-"]
        assert main(["evaluate", str(path), "--data", str(objects), *arguments]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (["cat", "dog", "sheep"], [3, 9, 11], "only the model has ['sheep'], only the data has ['horse']"),
        (["cat", "dog"], [3, 9], "only the model has [], only the data has ['horse']"),
    ],
)
def test_objects_of_other_classes_are_refused(names, ids, message, objects, tmp_path, capsys):
    path = detector(tmp_path / "animals.safetensors", "retinanet", names, ids)
    assert main(["evaluate", str(path), "--data", str(objects), "--num-workers", "0"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--flip"], ["--scales", "1.0"]])
def test_a_detector_takes_no_option_of_segmenters(options, tmp_path, capsys):
    path = detector(tmp_path / "animals.safetensors", "retinanet", *ANIMALS)
    assert main(["evaluate", str(path), *options]) == 1
    assert f"leave out {options[0]}: it is for segmenters, and this is a detector" in capsys.readouterr().err


def test_only_a_detector_writes_results(for_digits, for_masks, capsys):
    for path, kind in ((for_digits, "classifier"), (for_masks, "segmenter")):
        assert main(["evaluate", str(path), "--results", "results.json"]) == 1
        assert f"leave out --results: it is for detectors, and this is a {kind}" in capsys.readouterr().err


def test_digit_scenes_are_a_detectors_default(tmp_path, monkeypatch, capsys):
    defaults = list(DetectionScenes.__init__.__defaults__)
    monkeypatch.setattr(DetectionScenes.__init__, "__defaults__", (64, 1, 2, *defaults[3:]))  # two scenes of 64 pixels
    path = detector(tmp_path / "scenes.safetensors", "mask_rcnn", [*map(str, range(10))], [*range(10)])
    assert main(["evaluate", str(path), "--num-workers", "0", "--json", "-"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["data"], scores["images"], len(scores["classes"])) == ("digit_scenes", 2, 10)


@pytest.mark.parametrize("json_file", [None, "-"])
def test_an_expected_score_decides_the_exit_code_and_is_certified(json_file, for_digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", for_digits.name, "--data", "digits", "--json", "scores.json"]) == 0
    score = json.loads(Path("scores.json").read_text())["top1"]
    more = ["--data=digits", "--device=cpu", *([f"--json={json_file}"] if json_file else [])]
    near = ["evaluate", for_digits.name, *more, f"--expect={score + 0.0005}", "--tolerance=0.001"]
    capsys.readouterr()
    assert main([*near, "--certificate=deep/near.json"]) == 0
    out, err = capsys.readouterr()
    assert f"top1 agrees: measured {score:.2%}" in (err if json_file else out)
    assert json_file is None or json.loads(out)["top1"] == score
    certificate = json.loads(Path("deep/near.json").read_text())
    assert certificate["verdict"] == "pass"
    assert set(certificate["command"].split()) == {"gpvit", *near, "--certificate=deep/near.json"}
    far = ["evaluate", for_digits.name, *more, "--expect=0.9", "--metric=top5", "--certificate=far.json"]
    assert main(far) == 1
    out, err = capsys.readouterr()
    assert "top5 differs: measured" in (err if json_file else out)
    assert "90.00% was expected, within 0.20%" in err
    assert json.loads(Path("far.json").read_text())["verdict"] == "fail"


@pytest.mark.parametrize("options", [["--expect", "published"], ["--certificate", "c.json"]])
def test_published_weights_are_held_to_what_is_published(options, for_digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPVIT_CACHE", str(tmp_path))
    for_digits.rename(tmp_path / "gpvit_nano.digits.safetensors")
    entry = replace(MODELS["gpvit_nano"], weights={"digits": Weights("absent.pth", {"top1": 99.0})})
    monkeypatch.setitem(MODELS, "gpvit_nano", entry)
    assert main(["evaluate", "gpvit_nano.digits", "--data", "digits", *options]) == 1
    assert "99.00% was expected" in capsys.readouterr().err
    assert Path("c.json").exists() == ("c.json" in options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--expect", "published"], "nothing is published for digits.safetensors; say what it should score: --expect"),
        (["--certificate", "c.json"], "nothing is published for digits.safetensors"),
        (["--metric", "top5"], "leave out --metric, or say by --expect"),
        (["--expect", "81"], "expect 81.0: give a score from 0 to 1"),
        (["--expect", "0.8", "--tolerance", "-1"], "tolerance -1.0: give 0 or more"),
        (["--expect", "0.8", "--metric", "miou"], "no score 'miou' was measured; choose --metric of top1, top5"),
        (["--expect", "0.8", "--data", "nowhere", "--certificate", "c.json"], "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_expected_is_named_and_leaves_no_certificate(
    options, message, for_digits, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", for_digits.name, *options]) == 1
    assert message in capsys.readouterr().err
    assert not Path("c.json").exists()


def scores_of(arguments, capsys) -> dict:
    assert main([*map(str, arguments), "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_data_are_said_as_to_train(objects, tmp_path, capsys):
    """A comma, other folders, annotations that cannot be used: whatever `train` takes by --data."""
    path = detector(tmp_path / "animals.safetensors", "mask_rcnn", *ANIMALS)
    command = ["evaluate", path, "--num-workers", "0"]
    plain = scores_of([*command, "--data", objects], capsys)
    (objects / "val").rename(objects / "valid")
    (objects / "annotations" / "val.json").rename(objects / "valid" / "_annotations.coco.json")
    places = ["--data.val_images", "valid", "--data.val_annotations=valid/_annotations.coco.json"]
    named = ["--data.class", "gpvit.data.detection.CocoFolder", "--data.root", objects, "--data.batch_size", "3"]
    assert scores_of([*command, *named, *places], capsys)["mask_ap"] == plain["mask_ap"]
    boxes = scores_of([*command, "--data", objects, *places, "--data.masks", "false"], capsys)
    assert boxes["box_ap"] == plain["box_ap"]
    assert "mask_ap" not in boxes
    document = json.loads((objects / "valid" / "_annotations.coco.json").read_text())
    document["annotations"][0]["bbox"] = [1, 1, 0, 5]
    (objects / "valid" / "_annotations.coco.json").write_text(json.dumps(document))
    assert main([*map(str, command), "--data", str(objects), *places]) == 1
    assert "drop_invalid: true" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="left out"):
        assert scores_of([*command, "--data", objects, *places, "--data.drop_invalid", "true"], capsys)["images"] == 3


@pytest.mark.parametrize("layout", ["voc", "yolo"])
def test_the_format_of_objects_is_found_by_looking(layout, tmp_path, capsys):
    if layout == "voc":
        write_voc(tmp_path / "own", xml(("cat", 8, 8, 40, 40), ("dog", 30, 20, 50, 40)))
    else:
        write_yolo(tmp_path / "own", "0 0.25 0.5 0.25 0.5\n1 0.5 0.5 0.2 0.2")
    path = detector(tmp_path / "animals.safetensors", "retinanet", ["cat", "dog"], [1, 2])
    scores = scores_of(["evaluate", path, "--data", tmp_path / "own", "--num-workers", "0"], capsys)
    assert scores["images"] == 1
    assert all(isinstance(score["box_ap"], float) for score in scores["classes"].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.mask", "false"], "there is no setting data.mask; did you mean data.masks"),
        (["--data.masks", "maybe"], "data.masks: 'maybe' given, bool expected"),
        (["--data.root", "there"], "say the same; give one of them"),
        (["--data.class", "Nothing"], "'Nothing' is no LightningDataModule"),
    ],
)
def test_wrong_settings_of_the_data_are_named(options, message, objects, tmp_path, capsys):
    path = detector(tmp_path / "animals.safetensors", "retinanet", *ANIMALS)
    assert main(["evaluate", str(path), "--data", str(objects), *options]) == 1
    assert message in capsys.readouterr().err


def test_categories_of_other_ids_and_order_are_matched_by_name(objects, tmp_path, capsys):
    same = detector(tmp_path / "same.safetensors", "retinanet", *ANIMALS)
    command = ["--data", objects, "--num-workers", "0"]
    plain = scores_of(["evaluate", same, *command], capsys)
    document = json.loads((objects / "annotations" / "val.json").read_text())
    for entry in document["categories"]:
        entry["id"] = 20 - entry["id"]
    for entry in document["annotations"]:
        entry["category_id"] = 20 - entry["category_id"]
    (objects / "annotations" / "val.json").write_text(json.dumps(document))
    with pytest.warns(UserWarning, match="matched by name"):
        assert scores_of(["evaluate", same, *command], capsys)["box_ap50"] == plain["box_ap50"]
