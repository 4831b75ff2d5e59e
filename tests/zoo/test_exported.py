import json

import numpy as np
import pytest
import torch
from PIL import Image
from runtime.metadata import CLASSIFIER, DETECTOR, SEGMENTER
from runtime.tiny import Classifier, Segmenter, write

import gpvit
from gpvit.cli import main
from gpvit.data import ImageFolder
from gpvit.errors import UserError
from gpvit.inference.groups import draw_groups
from gpvit.inference.inferers import SlidingWindow, WholeImage
from gpvit.tasks.evaluate import evaluate, open_data
from gpvit.zoo import exported as module
from gpvit.zoo.factory import is_untrained, open_model

TWINS = {"classification": Classifier, "segmentation": Segmenter}


def noise(width=97, height=71, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height))


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes."""
    for index in range(6):
        path = tmp_path / "data" / "val" / ("cat", "dog")[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed=index).save(path)
    return tmp_path / "data"


def test_an_exported_file_is_a_model(exported):
    model = open_model(str(exported["segmentation"]))
    assert (model.task, model.num_classes, model.in_chans, model.stride) == ("segmentation", 2, 3, 8)
    assert not is_untrained(exported["segmentation"])
    assert open_model(exported["detection"]).has_masks


def test_it_answers_as_the_model_does(exported):
    image = noise()
    expected = gpvit.Predictor(Classifier())(image).probabilities
    assert (gpvit.Predictor(exported["classification"])(image).probabilities - expected).abs().max() < 1e-6
    for inferer in (WholeImage(), WholeImage((0.5, 1.0), flip=True), SlidingWindow(32)):
        expected = gpvit.Predictor(Segmenter(), inferer=inferer)(image).labels
        given = gpvit.Predictor(str(exported["segmentation"]), inferer=inferer)(image).labels
        assert (given != expected).mean() < 1e-4


def test_objects_are_found_within_the_image(exported):
    model, images = open_model(exported["detection"]), torch.rand(2, 3, 71, 97)
    for masks, dtype, size in (("box", torch.float32, (28, 28)), ("binary", torch.bool, (71, 97))):
        first, second = model.find(list(images), masks)
        assert first["masks"].dtype == dtype
        assert first["masks"].shape == (2, 1, *size)
        assert first["labels"].tolist() == second["labels"].tolist() == [2, 1]
        # the graph's boxes are those of an image that was enlarged to fit 128x64
        assert first["boxes"][0].tolist() == pytest.approx([2 * 97 / 87, 3 * 71 / 64, 40 * 97 / 87, 30 * 71 / 64])


def test_it_computes_where_and_how_it_was_exported(exported, monkeypatch):
    path = exported["classification"]
    with pytest.raises(UserError, match=r"classification\.onnx computes on the CPU and takes float32"):
        gpvit.Predictor(path, device="meta")
    with pytest.raises(UserError, match="computes on the CPU and takes float32"):
        open_model(path).half()
    with pytest.raises(UserError, match="computes in fp32, as it was exported; leave out precision"):
        gpvit.Predictor(path, precision="bfloat16")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("meta"))
    assert gpvit.Predictor(path)(noise()).top(1)


def test_it_takes_as_many_threads_as_torch(exported, monkeypatch):
    given = []
    monkeypatch.setattr(module, "open_session", lambda path, threads: given.append(threads))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        module.open_any(exported["classification"])
    finally:
        torch.set_num_threads(threads)
    assert given == [3]


def test_what_it_cannot_be_is_told(exported, tmp_path):
    path = exported["classification"]
    for call in (lambda: gpvit.load(path), lambda: gpvit.create_model("gpvit_nano", weights=path)):
        with pytest.raises(UserError, match=r"is an exported file: a graph, and no weights.*gpvit predict"):
            call()
    with pytest.raises(UserError, match="brings its own weights"):
        open_model(path, "in1k")
    with pytest.raises(UserError, match=r"classification\.onnx has no maps of groups; export the model with --groups"):
        draw_groups(open_model(path), noise())


def test_answers_that_are_no_logits_are_left_to_the_runtime(tmp_path):
    path = write({**CLASSIFIER, "input": "uint8", "outputs": ["probabilities"]}, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="takes bytes and gives probabilities, where logits are needed"):
        open_model(path)


def test_scores_are_those_of_the_model(exported, photos):
    scores = []
    for model in (open_model(exported["classification"]), Classifier()):
        data = open_data(ImageFolder, model, root=photos, num_workers=0, batch_size=4)
        scores.append(evaluate(model, data, device="cpu"))
    assert scores[0] == pytest.approx(scores[1])
    assert scores[0]["images"] == 6


@pytest.mark.parametrize(
    ("names", "refused"), [(["class 0", "class 1"], False), (["cat", "dog"], False), (["dog", "cat"], True)]
)
def test_names_that_nobody_gave_need_not_be_those_of_the_data(tmp_path, photos, names, refused):
    model = open_model(write(CLASSIFIER, tmp_path / "model.onnx", label_names=names))
    data = open_data(ImageFolder, model, root=photos, num_workers=0)
    if refused:
        with pytest.raises(UserError, match="class 0 is 'dog' for the model and 'cat' in the data"):
            evaluate(model, data, device="cpu")
    else:
        assert evaluate(model, data, device="cpu")["images"] == 6


def test_the_command_line_takes_it(exported, photos, tmp_path, capsys):
    photo = str(next(photos.rglob("*.png")))
    for task, path in exported.items():
        more = ["--score", "0"] if task == "detection" else []
        assert main(["predict", str(path), photo, "--json", "--out", str(tmp_path / task), *more]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["overlay"].endswith("_predicted.png")
    path = str(exported["classification"])
    assert main(["evaluate", path, "--data", str(photos), "--num-workers", "0", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6
    assert main(["groups", path, photo, "--out", str(tmp_path)]) == 1
    assert "export the model with --groups" in capsys.readouterr().err
    assert main(["predict", path, photo, "--device", "meta"]) == 1
    assert "leave the device out" in capsys.readouterr().err


def test_a_benchmark_names_runtime_precision_and_threads(exported, tmp_path, capsys):
    path, options = str(exported["segmentation"]), ["--size", "64x64", "--batch-size", "1", "--rounds", "1"]
    command = ["benchmark", path, "gpvit_nano", "--baseline", path, *options, "--no-memory", "--out", str(tmp_path)]
    assert main(command) == 0
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    threads = torch.get_num_threads()
    assert [row["subject"] for row in rows] == [
        f"segmentation.onnx (ONNX Runtime, fp32, {threads} threads)",
        "gpvit_nano",
    ]
    assert rows[0]["time_ratio"] == 1
    for more, message in ((["--mode", "train"], "gives answers alone"), (["--device", "cuda"], "computes on the CPU")):
        assert main(["benchmark", path, *options, *more]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", [CLASSIFIER, SEGMENTER, DETECTOR], ids=lambda kind: kind["task"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, kind, monkeypatch):
    path = write(kind, tmp_path / "model.onnx")
    predictor = gpvit.Predictor(path)
    compute = predictor.model.session.compute

    def broken(images):
        outputs = compute(images)
        return {name: out * np.float32("nan") if out.dtype == np.float32 else out for name, out in outputs.items()}

    object.__setattr__(predictor.model.session, "compute", broken)
    with pytest.raises(UserError, match="not finite"):
        predictor(noise())
