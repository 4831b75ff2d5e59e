import json
import pickle
import random

import numpy as np
import pytest
import torch
from gpvit.data.transforms.erasing import RandomErasing
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.auto_augment import RandAugment

from gpvit.data.synthetic.photographs import load_photograph
from gpvit.data.transforms.classification import Augmentation, Preprocessing, training_transform


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@pytest.mark.parametrize("size", [(500, 333), (333, 500), (224, 224), (100, 60), (31, 700)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_evaluation_equals_timm(size, interpolation):
    image = load_photograph("cat").resize(size)
    ours = Preprocessing(interpolation=interpolation).transform()(image)
    theirs = create_transform(224, interpolation=interpolation, crop_pct=0.875)(image)
    assert ours.dtype == torch.float32
    assert type(ours) is torch.Tensor
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_short_side_256_then_centre_224_by_pillow():
    image = load_photograph("coffee")
    width, height = image.size
    resized = image.resize((int(256 * width / height), 256), Image.Resampling.BICUBIC)
    left, top = round((resized.width - 224) / 2), 16
    pixels = np.asarray(resized.crop((left, top, left + 224, top + 224))) / 255
    preprocessing = Preprocessing()
    expected = (pixels - preprocessing.mean) / preprocessing.std
    torch.testing.assert_close(
        preprocessing.transform()(image), torch.from_numpy(expected).float().permute(2, 0, 1), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("input_size", [(3, 96, 160), (3, 160, 96), (1, 64, 64), (1, 33, 47), (3, 7, 5)])
@pytest.mark.parametrize("crop_pct", [0.5, 0.875, 0.9, 1.0])
def test_any_image_fits_any_input_size(input_size, crop_pct):
    channels = input_size[0]
    transform = Preprocessing(input_size, (0.5,) * channels, (0.25,) * channels, crop_pct=crop_pct).transform()
    for size in [(640, 427), (90, 300), (8, 8), (1, 1)]:
        for mode in ("RGB", "L"):
            tensor = transform(Image.new(mode, size, "white"))
            assert tensor.shape == input_size
            torch.testing.assert_close(tensor, torch.full(input_size, 2.0))  # no border crept in


def test_an_oblong_input_keeps_the_shape_of_things():
    image = Image.new("RGB", (400, 400))
    image.paste("white", (150, 150, 250, 250))
    tensor = Preprocessing((3, 100, 200), (0.0,) * 3, (1.0,) * 3, crop_pct=1.0).transform()(image)[0]
    assert (tensor[50] > 0.5).sum() == (tensor[:, 100] > 0.5).sum() == 50


def test_travels_as_plain_data():
    for preprocessing in (Preprocessing(), Preprocessing((1, 64, 48), [0.3], [0.4], "bilinear", 1.0)):
        values = preprocessing.to_dict()
        assert Preprocessing.from_dict(json.loads(json.dumps(values))) == preprocessing
        assert Preprocessing.from_pretrained_cfg({**values, "architecture": "gpvit_l1"}) == preprocessing
        config = resolve_data_config({}, pretrained_cfg=values)
        assert {name: config[name] for name in values} == values
    assert Preprocessing.from_pretrained_cfg({"crop_pct": None}) == Preprocessing()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input_size": (3, 224)}, "channels, height, width"),
        ({"input_size": (4, 224, 224)}, "1 or 3 channels"),
        ({"input_size": (3, 0, 224)}, "input_size"),
        ({"input_size": (1, 64, 64)}, "one value per channel"),
        ({"std": (0.2, 0.0, 0.2)}, "std above 0"),
        ({"interpolation": "cubic"}, "'cubic': choose one of .*bicubic"),
        ({"crop_pct": 0.0}, "crop_pct 0"),
        ({"crop_pct": 87.5}, "crop_pct 87.5"),
        ({"crop": 0.9}, "unknown preprocessing keys .*'crop'.*known keys"),
    ],
)
def test_wrong_preprocessing(values, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_dict(values)


def test_other_crop_modes_of_timm_are_refused():
    assert Preprocessing.from_pretrained_cfg({"crop_mode": "center"}) == Preprocessing()
    with pytest.raises(ValueError, match="squash"):
        Preprocessing.from_pretrained_cfg({"crop_mode": "squash"})


@pytest.mark.parametrize("input_size", [(3, 48, 64), (1, 32, 32)])
def test_training_transform_varies_and_repeats_by_seed(input_size):
    channels = input_size[0]
    preprocessing = Preprocessing(input_size, (0.5,) * channels, (0.5,) * channels)
    transform = pickle.loads(pickle.dumps(training_transform(preprocessing)))  # as for loader processes
    image = load_photograph("cat").resize((90, 60))
    runs = []
    for number in (1, 1, 2):
        seed(number)
        runs.append(torch.stack([transform(image) for _ in range(8)]))
    assert runs[0].shape == (8, *input_size)
    assert runs[0].dtype == torch.float32
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert len({tensor.sum().item() for tensor in runs[0]}) == 8


def test_training_without_augmentation_only_resizes():
    plain = Augmentation(
        crop_scale=(1, 1), crop_ratio=(1, 1), horizontal_flip=0, rand_augment=None, erase_probability=0
    )
    preprocessing = Preprocessing((3, 32, 32), crop_pct=1.0)
    image = load_photograph("astronaut").resize((100, 100))
    torch.testing.assert_close(training_transform(preprocessing, plain)(image), preprocessing.transform()(image))


@pytest.mark.parametrize("name", ["horizontal_flip", "color_jitter", "rand_augment", "erase_probability", "crop_scale"])
def test_each_option_of_the_augmentation_acts(name):
    plain = {
        "crop_scale": (1, 1),
        "crop_ratio": (1, 1),
        "horizontal_flip": 0,
        "color_jitter": 0.0,
        "rand_augment": None,
        "erase_probability": 0,
    }
    strong = {"crop_scale": (0.1, 0.2), "color_jitter": 0.5, "rand_augment": "rand-m9-n4-p1-inc1"}.get(name, 1.0)
    image = load_photograph("astronaut").resize((40, 40))
    preprocessing = Preprocessing((3, 32, 32))
    seed(0)
    without, with_it = (
        training_transform(preprocessing, Augmentation(**options))(image)
        for options in (plain, {**plain, name: strong})
    )
    assert (without - with_it).abs().mean() > 0.01


# The operations of the authors' configuration: at a level of 0 and of 10, in timm's names; None takes no level.
PUBLISHED_OPERATIONS = {
    "AutoContrast": None,
    "Equalize": None,
    "Invert": None,
    "Rotate": (0, 30),
    "PosterizeIncreasing": (4, 0),
    "SolarizeIncreasing": (256, 0),
    "SolarizeAdd": (0, 110),
    "ColorIncreasing": (1.0, 1.9),
    "ContrastIncreasing": (1.0, 1.9),
    "BrightnessIncreasing": (1.0, 1.9),
    "SharpnessIncreasing": (1.0, 1.9),
    "ShearX": (0, 0.3),
    "ShearY": (0, 0.3),
    "TranslateXRel": (0, 0.45),
    "TranslateYRel": (0, 0.45),
}


def steps_of(transform) -> list:
    inner = getattr(transform, "transforms", None)
    return [transform] if inner is None else [step for each in inner for step in steps_of(each)]


def test_the_default_is_the_published_list_of_augmentations():
    steps = steps_of(training_transform(Preprocessing()))
    names = [type(step).__name__ for step in steps]
    assert names == [
        "RGB",
        "RandomResizedCropAndInterpolation",
        "RandomHorizontalFlip",
        "RandAugment",
        "PILToTensor",
        "RandomErasing",  # before the normalisation
        "ToDtype",
        "Normalize",
    ]
    crop, flip = steps[1:3]
    assert (crop.size, crop.scale, crop.ratio) == ((224, 224), (0.08, 1.0), (3 / 4, 4 / 3))
    assert crop.interpolation.value == "bicubic"
    assert flip.p == 0.5
    (erase,) = (step for step in steps if isinstance(step, RandomErasing))
    assert (erase.probability, *erase.area) == (0.25, 0.02, pytest.approx(1 / 3))
    assert erase.mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert erase.std.flatten().tolist() == pytest.approx([58.395, 57.12, 57.375])


def test_rand_augment_is_the_published_one(monkeypatch):
    (rand_augment,) = (step for step in steps_of(training_transform(Preprocessing())) if isinstance(step, RandAugment))
    assert rand_augment.num_layers == 2
    assert rand_augment.choice_weights is None  # each operation is as likely as any other, the same one twice, too
    assert [operation.name for operation in rand_augment.ops] == list(PUBLISHED_OPERATIONS)
    monkeypatch.setattr(random, "random", lambda: 0.0)  # no value changes its sign
    for operation in rand_augment.ops:
        assert (operation.prob, operation.magnitude, operation.magnitude_std) == (0.5, 9, 0.5)
        assert (operation.magnitude_max or 10) == 10
        assert operation.kwargs == {"fillcolor": (124, 116, 104), "resample": Image.Resampling.BICUBIC}
        ends = PUBLISHED_OPERATIONS[operation.name]
        if ends is None:
            assert operation.level_fn is None
            continue
        for level in (0, 2.5, 7.5, 9, 10):
            (value,) = operation.level_fn(level, operation.hparams)
            expected = ends[0] + level / 10 * (ends[1] - ends[0])
            if operation.name in ("PosterizeIncreasing", "SolarizeIncreasing"):  # of whole bits and values
                expected = np.ceil(expected)
            assert value == pytest.approx(np.floor(expected) if "Add" in operation.name else expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("rand_augment", ["rand-m10-n6-p1-inc1", "rand-m1-n6-p1-mstd0.5", "rand-m9-n2-mstd0.5-inc1"])
def test_rand_augment_survives_every_magnitude(channels, rand_augment):
    # timm posterizes to 0 bits at full magnitude, which Pillow 13 refuses: one ImageNet image in some hundreds
    augmentation = Augmentation(rand_augment=rand_augment)
    transform = training_transform(
        Preprocessing((channels, 16, 16), (0.5,) * channels, (0.5,) * channels), augmentation
    )
    image = load_photograph("cat").resize((20, 20))
    seed(0)
    for _ in range(400):
        assert transform(image).isfinite().all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"crop_scale": (0.5, 1.5)}, "crop_scale"),
        ({"crop_ratio": (2.0, 1.0)}, "crop_ratio"),
        ({"horizontal_flip": 1.5}, "horizontal_flip 1.5"),
        ({"erase_probability": -0.1}, "erase_probability -0.1"),
        ({"rand_augment": "randm9"}, "'randm9': write it like"),
        ({"rand_augment": "rand-m9-q3"}, "rand-m9-q3"),
        ({"rand_augment": "rand-m9.5"}, "rand-m9.5"),
        ({"color_jitter": 0.4}, "rand_augment and color_jitter exclude"),
    ],
)
def test_wrong_augmentation(values, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)
