import pytest
import torch
from gpvit.data.transforms.erasing import RandomErasing

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
