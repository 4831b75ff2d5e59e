import json
import warnings
from itertools import chain, pairwise, repeat

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import gpvit
from gpvit import Predictor
from gpvit.data import load_photograph, photograph_names
from gpvit.inference.results.classification import ClassificationResult, Prediction

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = timm.create_model("gpvit_nano", num_classes=len(NAMES), img_size=64)
    torch.nn.init.normal_(model.head.weight)
    model.pretrained_cfg |= {"input_size": (3, 64, 64), "label_names": NAMES, "mean": (0.4, 0.5, 0.6)}
    return model.eval()


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model, batch_size=3)


@pytest.fixture(scope="module")
def photographs():
    return [load_photograph(name) for name in photograph_names()]


@pytest.fixture(scope="module")
def expected(predictor, photographs):
    """The logits of each photograph, one by one and step by step."""
    with torch.no_grad():
        return [predictor.model(predictor.preprocessing.transform()(image)[None])[0] for image in photographs]


def test_preprocessing_is_the_models(predictor):
    assert predictor.preprocessing.input_size == (3, 64, 64)
    assert predictor.preprocessing.mean == (0.4, 0.5, 0.6)


def test_every_kind_of_source_gives_the_same(predictor, photographs, expected, tmp_path):
    image = photographs[0]
    path = tmp_path / "image.png"
    image.save(path)
    array = np.asarray(image).copy()
    sources = [path, str(path), image, array, torch.from_numpy(array).permute(2, 0, 1)]
    for result in (*predictor(sources), *map(predictor, sources)):
        torch.testing.assert_close(result.logits, expected[0], rtol=1e-4, atol=1e-4)
        assert np.array_equal(result.image, array)


def test_batches_of_any_size_give_the_same_in_order(model, photographs, expected):
    for batch_size in (1, 4, 100):
        results = Predictor(model, batch_size=batch_size)(photographs)
        assert all(result.source is image for result, image in zip(results, photographs, strict=True))
        torch.testing.assert_close(
            torch.stack([r.logits for r in results]), torch.stack(expected), rtol=1e-4, atol=1e-4
        )
    assert Predictor(model)([]) == []


def test_stream_takes_no_more_than_a_batch_in_advance(predictor):
    endless = repeat(Image.new("RGB", (40, 50)))
    taken = 0

    def counted():
        nonlocal taken
        for image in endless:
            taken += 1
            yield image

    stream = predictor.stream(counted())
    for given in range(1, 8):
        next(stream)
        assert given <= taken < given + predictor.batch_size


def test_what_is_no_image_is_raised_or_handed_over(predictor, tmp_path):
    good, text, absent = tmp_path / "good.png", tmp_path / "text.png", tmp_path / "absent.png"
    Image.new("RGB", (40, 40)).save(good)
    text.write_text("no image")
    nan = np.full((40, 40), np.nan, np.float32)
    for bad in (text, absent, nan):
        with pytest.raises((ValueError, FileNotFoundError)):
            predictor([good, bad])
    reported = []
    sources = [good, text, good, absent, nan, text, text, good]
    results = list(predictor.stream(sources, on_error=lambda source, error: reported.append((source, str(error)))))
    assert [result.source for result in results] == [good] * 3
    assert [source for source, _ in reported] == [text, absent, nan, text, text]
    assert "nan" in reported[2][1]


def test_answers_that_are_not_finite_are_refused(model):
    broken = timm.create_model("gpvit_nano", num_classes=2)
    torch.nn.init.constant_(broken.head.bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        Predictor(broken)(Image.new("RGB", (40, 40)))


def test_gray_models_see_gray(photographs):
    gray = Predictor(timm.create_model("gpvit_nano", in_chans=1, num_classes=2))
    torch.testing.assert_close(gray(photographs[0]).logits, gray(photographs[0].convert("L")).logits)


def test_bfloat16_models_work(photographs):
    model = timm.create_model("gpvit_nano", num_classes=3).bfloat16()
    result = Predictor(model)(photographs[0])
    assert result.logits.dtype == torch.float32


def test_any_timm_classifier_will_do(photographs):
    result = Predictor(timm.create_model("resnet10t", num_classes=4))(photographs[0])
    assert len(result.top(9)) == 4


def test_names_without_weights_warn():
    with pytest.warns(UserWarning, match="gpvit_nano has no weights"):
        predictor = Predictor("gpvit_nano", device="cpu")
    assert predictor.class_names[281] == "tabby"


def test_a_checkpoint_is_all_it_needs(predictor, photographs, expected, tmp_path):
    gpvit.save(predictor.model, tmp_path / "own.safetensors")
    result = Predictor(tmp_path / "own.safetensors", device="cpu")(photographs[0])
    torch.testing.assert_close(result.logits, expected[0], rtol=1e-4, atol=1e-4)
    assert result.class_names == tuple(NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"batch_size": 0}, "batch_size is 0"), ({"device": "toaster"}, "toaster")],
)
def test_wrong_settings_are_told(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        Predictor(model, **arguments)


def test_a_model_without_classifier_is_refused():
    with pytest.raises(ValueError, match="no classifier"):
        Predictor(timm.create_model("gpvit_nano", num_classes=0))


def test_result_ranks_classes():
    generator = torch.Generator().manual_seed(0)
    for num_classes in chain(range(1, 9), (1000,)):
        logits = torch.randn(num_classes, generator=generator)
        names = tuple(f"name {index}" for index in range(num_classes))
        result = ClassificationResult(logits, names, "cat.jpg")
        ranked = result.top(num_classes + 1)
        assert sorted(p.class_index for p in ranked) == list(range(num_classes))
        assert all(p.class_name == names[p.class_index] for p in ranked)
        assert all(a.probability >= b.probability for a, b in pairwise(ranked))
        assert sum(p.probability for p in ranked) == pytest.approx(1)
        assert result.top(3) == ranked[:3]
        for prediction in ranked:
            assert prediction.probability == pytest.approx(logits.softmax(0)[prediction.class_index].item())


def test_result_says_what_it_is():
    result = ClassificationResult(torch.tensor([0.0, 2.0, 1.0]).log(), ("ant", "bee", "cat"), "photos/a.jpg")
    assert repr(result) == "ClassificationResult(photos/a.jpg: bee 66.7%, cat 33.3%, ant 0.0%)"
    name, index, probability = result.top(1)[0]
    assert result.top(1) == [Prediction("bee", 1, pytest.approx(2 / 3))]
    facts = json.loads(json.dumps(result.to_dict(2)))
    assert facts["source"] == "photos/a.jpg"
    assert facts["top"][0] == {"class_name": name, "class_index": index, "probability": probability}
    assert len(facts["top"]) == 2


def test_annotated_picture_shows_image_and_bars(tmp_path):
    red = Image.new("RGB", (300, 200), (255, 0, 0))
    result = ClassificationResult(torch.tensor([0.25, 0.75]).log(), ("plain", "$odd_{name$ " + "long" * 20), red)
    path = tmp_path / "folder" / "picture.png"
    result.save(path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    is_red = (pixels == (255, 0, 0)).all(-1)
    height, width = is_red.any(1).sum(), is_red.any(0).sum()
    assert width / height == pytest.approx(1.5, rel=0.02)
    right = pixels[:, is_red.any(0).nonzero()[0].max() + 5 :]
    blue = (right[..., 2] - right[..., 0] > 100).any(0).sum()
    track = (right == (232, 236, 241)).all(-1).any(0).nonzero()[0].max()
    assert blue / track == pytest.approx(0.75, abs=0.03)
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]
    with pytest.raises(ValueError, match="xyz"):
        result.save(tmp_path / "picture.xyz")
    assert not list(tmp_path.glob("*picture*"))


def test_an_unknown_name_is_refused_before_anything_is_said_of_its_weights():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="unknown model"):
            Predictor("gpvit_l11")
