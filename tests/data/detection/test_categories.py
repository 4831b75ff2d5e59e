import pytest

from gpvit.data.detection.categories import Categories

SOME = Categories(("cat", "dog", "owl"), (3, 17, 90))


def test_labels_are_contiguous_and_ids_are_not():
    assert [SOME.category_id(label) for label in (1, 2, 3)] == [3, 17, 90]
    assert len(SOME) == 3


def test_from_names_counts_from_1():
    assert Categories.from_names(["a", "b"]).ids == (1, 2)


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (("cat", "dog", "cat"), (1, 2, 3), r"category names \['cat'\] are given more than once"),
        (("cat", "dog"), (4, 4), r"category ids \[4\] are given more than once"),
        (("cat",), (1, 2), "1 category names for 2 ids"),
        ((), (), "0 category names"),
    ],
)
def test_bad_lists(names, ids, message):
    with pytest.raises(ValueError, match=message):
        Categories(names, ids)


def test_strangers():
    for label in (0, 4):
        with pytest.raises(ValueError, match=rf"label {label} stands for no category; labels go from 1 to 3"):
            SOME.category_id(label)


@pytest.mark.parametrize(
    ("names", "ids", "message"),
    [
        (("cat", "fox", "owl"), (3, 17, 90), r"only mine has \['dog'\], only yours has \['fox'\]"),
        (("cat", "dog", "owl"), (3, 18, 90), r"'dog' has id 17 and 18"),
        (("dog", "cat", "owl"), (17, 3, 90), r"the order is \['cat', 'dog', 'owl'\] and \['dog', 'cat', 'owl'\]"),
    ],
)
def test_differences_are_named(names, ids, message):
    SOME.require_same(Categories(list(SOME.names), list(SOME.ids)), "mine", "yours")
    with pytest.raises(ValueError, match=message):
        SOME.require_same(Categories(names, ids), "mine", "yours")
