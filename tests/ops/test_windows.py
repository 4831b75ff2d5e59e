import pytest
import torch

from gpvit.ops.windows import merge, partition

GENERATOR = torch.Generator().manual_seed(0)


def draw(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, (), generator=GENERATOR))


CASES = [
    # batch, windows down, windows across, window height, window width, trailing dimensions
    (draw(1, 3), draw(1, 5), draw(1, 5), draw(1, 6), draw(1, 6), tuple(draw(1, 4) for _ in range(draw(0, 3))))
    for _ in range(30)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_partition_is_a_loop_over_windows_and_merge_undoes_it(case):
    batch, down, across, h, w, rest = case
    grid = (down * h, across * w)
    x = torch.randn(batch, *grid, *rest, generator=GENERATOR)
    windows = partition(x, (h, w))
    looped = [
        image[top : top + h, left : left + w]
        for image in x
        for top in range(0, grid[0], h)
        for left in range(0, grid[1], w)
    ]
    assert torch.equal(windows, torch.stack(looped))
    assert torch.equal(merge(windows, grid), x)


def test_stripes_of_full_width_share_the_memory():
    x = torch.randn(2, 6, 10, 4)
    stripes = partition(x, (2, 10))
    assert stripes.data_ptr() == x.data_ptr()
    assert merge(stripes, (6, 10)).data_ptr() == x.data_ptr()
    channels_of_more = torch.randn(2, 6, 10, 8)[..., 4:]  # as the queries lie inside the joint projection
    assert partition(channels_of_more, (2, 10)).data_ptr() == channels_of_more.data_ptr()


def test_a_grid_that_windows_do_not_divide_is_refused():
    with pytest.raises(RuntimeError):
        partition(torch.zeros(1, 5, 4, 3), (2, 2))
