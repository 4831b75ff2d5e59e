import json
import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.auto_augment import RandAugment

from gpvit.data.synthetic.photographs import load_photograph
from gpvit.data.transforms.classification import Augmentation, Preprocessing, RandomErasing, training_transform


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


@pytest.mark.parametrize("crop_pct", [0.8, 0.85, 0.875, 0.9, 0.95, 0.96, 1.0])
@pytest.mark.parametrize("size", [(224, 224), (96, 160), (7, 5)])
def test_the_size_before_the_crop_is_timms(size, crop_pct):
    image = load_photograph("coffee").resize((150, 100))
    ours = Preprocessing((3, *size), crop_pct=crop_pct).transform()(image)
    theirs = create_transform((3, *size), interpolation="bicubic", crop_pct=crop_pct)(image)
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
        assert Preprocessing(**json.loads(json.dumps(values))) == preprocessing
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
        ({"std": (0.2, 0.0, 0.2)}, "std above 1e-6"),
        ({"interpolation": "cubic"}, "'cubic': choose one of .*bicubic"),
        ({"crop_pct": 0.0}, "crop_pct 0"),
        ({"crop_pct": 87.5}, "crop_pct 87.5"),
    ],
)
def test_wrong_preprocessing(values, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**values)


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


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def erased(size: tuple[int, int], draws: int, **options) -> torch.Tensor:
    """Erase from white images of a value that noise has never exactly everywhere; `(draws, 3, H, W)`."""
    torch.manual_seed(0)
    image = torch.full((3, *size), 77, dtype=torch.uint8)
    return torch.stack([RandomErasing(1.0, MEAN, STD, **options)(image) for _ in range(draws)])


def boxes(images: torch.Tensor) -> torch.Tensor:
    """Find the rectangle that each image lost: `(draws, 4)`, top, left, bottom, right, ends excluded."""
    found = []
    for changed in (images != 77).any(1):
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        found.append([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float().mean() > 0.98  # noise may be 77
    return torch.tensor(found)


@pytest.mark.parametrize("size", [(224, 224), (96, 320)])
def test_the_rectangle_is_of_the_published_area_and_shape_and_anywhere(size):
    height, width = size
    top, left, bottom, right = boxes(erased(size, 300)).T
    area = (bottom - top) * (right - left) / (height * width)
    assert 0.018 < area.min() < 0.04
    assert area.max() < 0.345
    if size == (224, 224):  # no side was cut
        assert area.max() > 0.3
        assert area.mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.015)
        ratio = (bottom - top) / (right - left)
        assert 0.28 < ratio.min() < 0.35
        assert 2.9 < ratio.max() < 3.6
        assert ratio.log().mean().abs() < 0.12
    assert max(top.min(), left.min()) <= 1  # the border is reached
    assert bottom.max() >= height - 1
    assert right.max() >= width - 1


def test_noise_has_the_colours_of_all_images_and_is_8_bit():
    images = erased((64, 64), 300, area=(0.25, 0.25), ratio=(1.0, 1.0))
    noise = torch.cat(
        [image[:, y:b, x:r].flatten(1) for image, (y, x, b, r) in zip(images, boxes(images), strict=True)], 1
    )
    assert images.dtype == torch.uint8
    # What is cut at 0 and 255 stays in the mean's place; a normal distribution says how much it moves.
    for values, mean, std in zip(noise.float(), MEAN, STD, strict=True):
        normal = (255 * (mean + std * torch.randn(1_000_000))).clamp(0, 255).floor()
        assert values.mean() == pytest.approx(normal.mean().item(), abs=0.7)
        assert values.std() == pytest.approx(normal.std().item(), abs=0.7)
        assert (values.min(), values.max()) == (0, 255)
    assert torch.corrcoef(noise[:2].float())[0, 1].abs() < 0.02  # each value by itself


def test_the_probability_is_kept_and_the_image_is_not_written_to():
    image = torch.full((1, 8, 8), 200, dtype=torch.uint8)
    erase = RandomErasing(0.25, (0.5,), (0.1,))
    torch.manual_seed(0)
    share = sum(not torch.equal(erase(image), image) for _ in range(2000)) / 2000
    assert share == pytest.approx(0.25, abs=0.03)
    assert torch.equal(image, torch.full_like(image, 200))
    assert all(RandomErasing(0.0, (0.5,), (0.1,))(image) is image for _ in range(50))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 300)])
def test_tiny_and_long_images_can_be_erased(size):
    torch.manual_seed(0)
    erase = RandomErasing(1.0, MEAN, STD)
    for _ in range(100):
        assert erase(torch.zeros(3, *size, dtype=torch.uint8)).shape == (3, *size)
