import json
import os
import signal
import warnings
from itertools import chain, pairwise, repeat

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import gpvit
from gpvit import Predictor
from gpvit.data import load_photograph, photograph_names
from gpvit.inference.results.base import Failure
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


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_image_that_cannot_be_read_is_a_failure_in_its_place(predictor, tmp_path, workers):
    good, text, absent = tmp_path / "good.png", tmp_path / "text.png", tmp_path / "absent.png"
    Image.new("RGB", (40, 40)).save(good)
    text.write_text("no image")
    nan = np.full((40, 40), np.nan, np.float32)
    for bad in (text, absent, nan):
        with pytest.raises((ValueError, FileNotFoundError)):
            predictor([good, bad])
    sources = [good, text, good, absent, nan, text, text, good]
    outcomes = list(predictor.stream(sources, workers))
    assert [outcome.source is source for outcome, source in zip(outcomes, sources, strict=True)] == [True] * 8
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [source is not good for source in sources]
    assert "text.png is not an image" in outcomes[1].message(str(text))
    assert "nan" in outcomes[4].message("array")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(predictor, photographs, tmp_path, workers):
    paths = [tmp_path / f"{index}.png" for index in range(len(photographs))]
    for path, image in zip(paths, photographs, strict=True):
        image.resize((90, 60)).save(path)
    state = torch.get_rng_state()
    results = list(predictor.stream(range(len(paths)), workers, paths.__getitem__))
    assert torch.equal(torch.get_rng_state(), state)
    for index, (result, expected) in enumerate(zip(results, predictor(paths), strict=True)):
        assert result.source == index
        assert torch.equal(result.logits, expected.logits)
        assert np.array_equal(result.image, expected.image)


def test_an_image_is_decoded_once_also_to_draw_it(predictor, tmp_path, monkeypatch):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "a.png")
    result = predictor(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert result.draw().getpixel((5, 5)) == (255, 0, 0)
    (result,) = predictor.stream([Image.new("RGB", (4, 4), "red")], keep_pixels=False)
    assert result.pixels is None
    assert result.image.size == (4, 4)


def test_only_the_image_that_breaks_a_batch_fails(photographs):
    class Fragile(nn.Module):
        num_classes = 2

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, images):
            if len(images) > 3:
                raise torch.OutOfMemoryError("more than three")
            mean = images.mean((1, 2, 3))
            return torch.stack([mean, torch.where(mean > 2, torch.nan, mean)], 1)

    sources = [*photographs[:6], Image.new("RGB", (9, 9), "white"), *photographs[:4]]
    outcomes = list(Predictor(Fragile(), batch_size=8).stream(sources))
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [False] * 6 + [True] + [False] * 4
    assert "not finite" in outcomes[6].message("white")
    with pytest.raises(ValueError, match="not finite"):
        Predictor(Fragile())(sources)


@pytest.mark.slow  # PyTorch looks for dead workers every five seconds
def test_an_image_that_kills_its_process_fails_alone(predictor, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    list(DataLoader([0], num_workers=1))  # after which PyTorch tells of deaths in the main thread

    def find(index):
        if index in (5, 6):
            os.kill(os.getpid(), signal.SIGKILL)
        return tmp_path / "a.png"

    outcomes = list(predictor.stream(range(20), 2, find))
    assert [outcome.source for outcome in outcomes] == list(range(20))
    assert [outcome.source for outcome in outcomes if isinstance(outcome, Failure)] == [5, 6]
    assert "b.png: the process that decoded it was killed" in outcomes[5].message("b.png")


def test_autocast_is_chosen_by_name(model, photographs, expected):
    result = Predictor(model, precision="bfloat16")(photographs[0])
    assert result.logits.dtype == torch.float32
    assert 0 < (result.logits - expected[0]).abs().max() < 0.5
    with pytest.raises(ValueError, match="precision 'half': choose"):
        Predictor(model, precision="half")


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
    with pytest.warns(
        UserWarning, match=r"gpvit_nano has no weights, so its predictions are arbitrary; there is gpvit_nano\.digits"
    ):
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


def test_the_drawing_shows_image_and_bars(tmp_path):
    red = Image.new("RGB", (300, 200), (255, 0, 0))
    result = ClassificationResult(torch.tensor([0.25, 0.75]).log(), ("plain", "$odd_{name$ " + "long" * 20), red)
    path = tmp_path / "folder" / "drawing.png"
    result.save(path)
    with Image.open(path) as drawing:
        pixels = np.asarray(drawing.convert("RGB")).astype(int)
    is_red = (pixels == (255, 0, 0)).all(-1)
    height, width = is_red.any(1).sum(), is_red.any(0).sum()
    assert width / height == pytest.approx(1.5, rel=0.02)
    right = pixels[:, is_red.any(0).nonzero()[0].max() + 5 :]
    blue, track = ((right == color).all(-1).any(0) for color in ((36, 113, 181), (232, 236, 241)))
    assert blue.sum() / (blue | track).sum() == pytest.approx(0.75, abs=0.03)
    assert [p.name for p in path.parent.iterdir()] == ["drawing.png"]
    with pytest.raises(ValueError, match="xyz"):
        result.save(tmp_path / "drawing.xyz")
    assert not list(tmp_path.glob("*drawing*"))


def test_an_unknown_name_is_refused_before_anything_is_said_of_its_weights():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="unknown model"):
            Predictor("gpvit_l11")
