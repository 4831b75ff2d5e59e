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


def test_categories_are_matched_by_name():
    assert SOME.matched(Categories(list(SOME.names), list(SOME.ids)), "mine", "yours") is None
    with pytest.raises(ValueError, match=r"only mine has \['dog'\], only yours has \['fox'\]"):
        SOME.matched(Categories(("cat", "fox", "owl"), (3, 17, 90)), "mine", "yours")
    with pytest.warns(UserWarning, match="mine and yours give the same categories other ids"):
        assert SOME.matched(Categories(("cat", "dog", "owl"), (3, 18, 90)), "mine", "yours") == [1, 2, 3]
    with pytest.warns(UserWarning, match="matched by name"):
        assert SOME.matched(Categories(("owl", "cat", "dog"), (1, 2, 3)), "mine", "yours") == [2, 3, 1]
