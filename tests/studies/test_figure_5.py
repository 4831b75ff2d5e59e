import pytest

from studies.figure_5 import BLOCKS, SIDES, WIDTHS, count_block, macs_table


def closed_forms(height, width, C):
    """Count by hand: attention, feed-forward network, and 3x3 depthwise convolutions at the ends of blocks."""
    N = height * width
    windows = -(-height // 7) * -(-width // 7)  # the padded tokens are projected and attend, too
    group = {f"GP, {M} groups": 13 * N * C**2 + 4 * M * N * C + 11 * M * C**2 + 9 * N * C for M in (16, 32, 64)}
    return {
        "self-attention": 12 * N * C**2 + 2 * N**2 * C + 9 * N * C,
        "stripes": 12 * N * C**2 + 2 * N * C * (height + width) + 18 * N * C,
        "windows": windows * (4 * 49 * C**2 + 2 * 49**2 * C) + 8 * N * C**2 + 9 * N * C,
        **group,
    }


@pytest.mark.parametrize(("height", "width", "dim"), [(8, 20, 348), (256, 256, 624)])
def test_counts_equal_the_closed_forms(height, width, dim):
    counts = {name: count_block(name, height, width, dim) for name in BLOCKS}
    assert counts == closed_forms(height, width, dim)


def test_table_has_every_size_and_every_width_once():
    table = macs_table((64, 128), (216, 348), 64)
    assert [(row["side"], row["tokens"], row["width"]) for row in table.rows] == [
        (64, 64, 216),
        (128, 256, 216),
        (64, 64, 348),
    ]
    assert table.rows[1]["GP, 32 groups"] == closed_forms(16, 16, 216)["GP, 32 groups"] / 1e9


def test_the_papers_range_is_covered():
    assert (SIDES[0], SIDES[-1]) == (224, 2048)
    assert (WIDTHS[0], WIDTHS[-1]) == (216, 624)


@pytest.mark.parametrize("sides", [(), (100,), (0,)])
def test_sides_without_whole_tokens_are_refused(sides):
    with pytest.raises(ValueError, match="one token of 8 pixels"):
        macs_table(sides)
