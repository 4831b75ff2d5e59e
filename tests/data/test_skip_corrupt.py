import pytest
from torch.utils.data import Dataset

from gpvit.data.skip_corrupt import SkipCorrupt
from gpvit.runtime.images import ImageError

pytestmark = pytest.mark.filterwarnings("ignore:skipped")


class Numbers(Dataset):
    """Ten numbers, of which some raise an error."""

    def __init__(self, errors):
        self.errors = errors

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index in self.errors:
            raise self.errors[index]
        return index


def test_whole_samples_are_left_alone():
    dataset = SkipCorrupt(Numbers({}), 0)
    assert len(dataset) == 10
    assert [dataset[index] for index in range(10)] == list(range(10))
    assert dataset.skipped == 0


def test_another_sample_stands_in():
    dataset = SkipCorrupt(Numbers({4: ImageError("four.png is damaged"), 5: OSError("five.png: I/O error")}), 100)
    with pytest.warns(UserWarning, match=r"skipped, 1 of at most 100: four\.png is damaged"):
        stood_in = {dataset[4] for _ in range(30)}
    assert len(stood_in) > 4
    assert not stood_in & {4, 5}
    with pytest.warns(UserWarning, match=r"five\.png: I/O error"):
        dataset[5]


def test_too_many_stop_the_run():
    dataset = SkipCorrupt(Numbers({index: ImageError(f"{index}.png is damaged") for index in range(10)}), 3)
    with (
        pytest.warns(UserWarning, match="skipped, 3 of at most 3"),
        pytest.raises(ImageError, match=r"\d\.png is damaged\nBefore it, 3 damaged images were skipped"),
    ):
        dataset[0]
    with pytest.raises(ImageError, match=r"1\.png is damaged\nBefore it, 0 .*raise max_damaged above 0"):
        SkipCorrupt(Numbers({1: ImageError("1.png is damaged")}), 0)[1]


def test_other_mistakes_stop_the_run_at_once():
    with pytest.raises(ValueError, match="label 7"):
        SkipCorrupt(Numbers({1: ValueError("label 7 has no class")}), 10)[1]
