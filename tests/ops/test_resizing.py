import pytest
import torch
import torch.nn.functional as F

from gpvit.ops import resizing
from gpvit.ops.resizing import resize_pos_embed, resize_rows, source_rows


def sizes(count: int, largest: int) -> list[tuple[int, int, int, int]]:
    generator = torch.Generator().manual_seed(0)
    return [tuple(row) for row in torch.randint(1, largest, (count, 4), generator=generator).tolist()]


def whole(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def test_bands_are_the_rows_of_the_whole():
    for case, (height, width, new_height, new_width) in enumerate(sizes(300, 90)):
        maps = torch.randn(3, height, width, generator=torch.Generator().manual_seed(case))
        expected = whole(maps, (new_height, new_width))
        step = 1 + case % 17
        bands = [
            resize_rows(maps, (new_height, new_width), range(top, min(top + step, new_height)))
            for top in range(0, new_height, step)
        ]
        torch.testing.assert_close(torch.cat(bands, 1), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("height", "new_height"), [(64, 4096), (512, 4096), (683, 5461), (4096, 130), (3, 10_007)])
def test_tall_maps_lose_no_precision(height, new_height):
    maps = torch.randn(2, height, 3)
    expected = whole(maps, (new_height, 5))
    last = range(new_height - 20, new_height)
    torch.testing.assert_close(resize_rows(maps, (new_height, 5), last), expected[:, -20:], rtol=0, atol=2e-6)


def test_the_rows_named_are_all_that_is_needed():
    for case, (height, width, new_height, new_width) in enumerate(sizes(200, 60)):
        maps = torch.randn(2, height, width, generator=torch.Generator().manual_seed(case))
        top = case % new_height
        rows = range(top, min(top + 1 + case % 7, new_height))
        needed = source_rows(height, new_height, rows)
        assert 0 <= needed.start < needed.stop <= height
        part = maps[:, needed.start : needed.stop]
        band = resize_rows(part, (new_height, new_width), rows, height, needed.start)
        assert torch.equal(band, resize_rows(maps, (new_height, new_width), rows))


def test_the_source_stays_as_it_was():
    maps = torch.randn(2, 5, 6)
    before = maps.clone()
    resize_rows(maps, (5, 6), range(5))
    assert torch.equal(maps, before)


@pytest.mark.parametrize("grid", [(28, 28), (9, 13), (32, 44), (100, 160), (3, 2), (1, 1)])
@pytest.mark.parametrize("own", [(28, 28), (7, 9), (4, 4)])
def test_positions_in_a_graph_for_every_size_are_those_of_interpolation(own, grid, monkeypatch):
    pos_embed = torch.randn(1, *own, 8)
    expected = F.interpolate(pos_embed.permute(0, 3, 1, 2), grid, mode="bicubic", align_corners=False)
    monkeypatch.setattr(resizing, "is_for_any_size", lambda x: True)
    actual = resize_pos_embed(pos_embed, grid).permute(0, 3, 1, 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))
