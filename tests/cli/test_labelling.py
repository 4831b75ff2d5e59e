import pytest

from gpvit.cli.labelling import labelling_method
from gpvit.inference.labelling import SlidingWindow, WholeImage


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, WholeImage()),
        ({"flip": True, "scales": "0.5,1, 1.5"}, WholeImage((0.5, 1.0, 1.5), flip=True)),
        ({"window": 256}, SlidingWindow(256)),
        ({"window": 512, "overlap": 0.0, "flip": True}, SlidingWindow(512, 0.0, flip=True)),
    ],
)
def test_options_choose_the_method(options, expected):
    assert labelling_method(**options) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 0.5}, "add --window 512"),
        ({"window": 512, "scales": "1.0"}, "choose one"),
        ({"scales": "a,b"}, "numbers separated by commas"),
        ({"scales": ""}, "numbers separated by commas"),
        ({"scales": "1,-1"}, "above 0"),
        ({"window": 8}, "32 or more"),
        ({"window": 64, "overlap": 1.0}, "below 1"),
    ],
)
def test_options_that_contradict_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        labelling_method(**options)
