import warnings
from itertools import combinations

import numpy as np
import pytest

from studies.group_metrics import agreement, colours, shuffled, squares, summary, token_truth


def naive_rand_index(one, other):
    """Hubert and Arabie's index, counted pair by pair."""
    together = [(one[i] == one[j], other[i] == other[j]) for i, j in combinations(range(len(one)), 2)]
    both = sum(a and b for a, b in together)
    first, second = sum(a for a, _ in together), sum(b for _, b in together)
    expected = first * second / len(together)
    return (both - expected) / ((first + second) / 2 - expected)


def naive(groups, truth):
    tokens = list(zip(groups.ravel().tolist(), truth.ravel().tolist(), strict=True))
    ious = []
    for name in {label for _, label in tokens if label}:
        per_group = []
        for group in {g for g, _ in tokens}:
            either = sum(g == group or label == name for g, label in tokens)
            per_group.append(sum(g == group and label == name for g, label in tokens) / either)
        ious.append(max(per_group))
    foreground = [(g, label) for g, label in tokens if label]
    mostly = {
        g for g, _ in tokens if sum(h == g and bool(label) for h, label in tokens) * 2 > sum(h == g for h, _ in tokens)
    }
    return (
        sum(ious) / len(ious),
        naive_rand_index(*zip(*tokens, strict=True)),
        naive_rand_index(*zip(*foreground, strict=True)),
        sum(g in mostly for g, _ in foreground) / len(foreground),
    )


def test_measures_are_those_counted_one_by_one():
    random = np.random.default_rng(0)
    for _ in range(10):
        truth = random.integers(0, 4, (5, 6))
        groups = np.where(random.random((5, 6)) < 0.6, truth, random.integers(0, 6, (5, 6)))  # related, with gaps
        assert tuple(agreement(groups, truth).values()) == pytest.approx(naive(groups, truth))


def test_the_truth_is_perfect_by_any_name_and_one_group_for_all_is_worth_nothing():
    truth = np.array([[0, 0, 1, 1], [0, 2, 2, 0], [0, 0, 0, 3]])
    assert tuple(agreement(np.array([7, 1, 4, 0])[truth], truth).values()) == (1, 1, 1, 1)
    alone = agreement(np.zeros_like(truth), truth)
    assert alone["best_iou"] == pytest.approx(np.mean([2, 2, 1]) / 12)
    assert tuple(alone.values())[1:] == (0, 0, 0)


def test_what_a_scene_cannot_tell_is_left_out_of_the_mean():
    groups = np.array([[0, 1, 1, 0]])
    empty, one = agreement(groups, np.array([[0, 0, 0, 0]])), agreement(groups, np.array([[0, 1, 1, 0]]))
    assert np.isnan([empty["best_iou"], empty["foreground_ari"], empty["recall"]]).all()
    assert one["best_iou"] == 1
    assert np.isnan(one["foreground_ari"])
    mean, error = summary(
        [
            dict(zip(empty, values, strict=True))
            for values in ((0.2, 0.0, np.nan, 0.5), (0.4, 0.1, 0.3, np.nan), (0.6, 0.2, np.nan, 0.7))
        ]
    )
    assert tuple(mean.values()) == pytest.approx((0.4, 0.1, 0.3, 0.6))
    assert error["best_iou"] == pytest.approx(0.2 / np.sqrt(3))
    assert np.isnan(error["foreground_ari"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's, of a mean of nothing
        assert np.isnan(summary([empty])[0]["recall"])


def test_an_object_is_its_hull_and_tokens_go_by_most_of_their_pixels():
    ring = np.zeros((32, 32), bool)
    ring[4:28, 4:28] = True
    ring[8:24, 8:24] = False
    truth = token_truth(ring[None], 8)
    assert (truth[1:3, 1:3] == 1).all(), "the hollow of a ring is within it"
    assert (truth[0, 1], truth[0, 0]) == (0, 0), "half of a token, and a quarter"
    wider = np.roll(ring, -1, axis=0)
    assert (token_truth(wider[None], 8)[[0, 3], 1] == [1, 0]).all()


def test_upper_objects_lie_over_the_hulls_of_lower_ones_but_not_over_their_ink():
    upper, lower = np.zeros((2, 8, 24), bool)
    upper[:, 8] = upper[:, 20:22] = upper[0, 8:22] = True  # an arch: its hull goes from 8 to 21
    lower[1:, 14:18] = True
    lower[:, 23] = True  # its hull goes from 14 to 23
    upper_first, lower_first = token_truth(np.stack([upper, lower]), 2), token_truth(np.stack([lower, upper]), 2)
    assert (upper_first[1] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 1, 1, 2]).all()
    assert (lower_first[1] == [0, 0, 0, 0, 2, 2, 2, 1, 1, 1, 2, 1]).all()


def test_tokens_over_the_border_count_their_pixels_inside_and_specks_have_none():
    masks = np.zeros((2, 10, 17), bool)
    masks[0, 8:10, 16:17] = True  # all that is inside of the last token
    masks[1, 1, 1] = True
    truth = token_truth(masks, 8)
    assert truth.tolist() == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("shape", "count"), [((16, 16), 16), ((16, 16), 64), ((8, 24), 12), ((5, 7), 6), ((3, 3), 64)])
def test_squares_divide_the_grid_evenly(shape, count):
    groups = squares(shape, count)
    sizes = np.bincount(groups.ravel())
    assert groups.shape == shape
    assert len(sizes) == min(count, shape[0] * shape[1])
    assert sizes.min() > 0
    for group in range(len(sizes)):
        rows, columns = np.nonzero(groups == group)
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "a rectangle"
    if not (shape[0] * shape[1]) % count:
        assert len(set(sizes)) == 1


def test_colours_find_what_is_painted_apart():
    planted = np.random.default_rng(0).integers(0, 4, (6, 6))
    palette = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 250]], np.uint8)
    image = palette[planted].repeat(8, 0).repeat(8, 1)[:45]
    assert agreement(colours(image, 8, 4), planted)["ari"] == pytest.approx(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert colours(np.zeros((16, 16, 3), np.uint8), 8, 16).shape == (2, 2)


def test_shuffled_groups_keep_their_sizes_and_agree_by_chance():
    random = np.random.default_rng(0)
    truth = squares((12, 12), 9)
    found = [shuffled(truth, random) for _ in range(30)]
    assert all((np.bincount(groups.ravel()) == 16).all() for groups in found)
    assert abs(np.mean([agreement(groups, truth)["ari"] for groups in found])) < 0.01
