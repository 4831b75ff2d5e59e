import pytest

from gpvit.data.synthetic.photographs import load_photograph, photograph_credit, photograph_names


def test_all_photographs_load_as_rgb():
    names = photograph_names()
    assert {"china", "flower", "astronaut", "cat", "coffee"} <= set(names)
    for name in names:
        image = load_photograph(name)
        assert image.mode == "RGB"
        assert min(image.size) >= 300
        assert image.getextrema() != ((0, 0),) * 3
        assert photograph_credit(name)


def test_an_unknown_photograph():
    with pytest.raises(ValueError, match="'dog'; choose one of china, flower"):
        load_photograph("dog")
