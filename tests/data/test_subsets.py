import warnings

import numpy as np
import pytest
from data.detection.conftest import make_part
from data.segmentation.folders import write_pairs
from PIL import Image

from gpvit.data import ImageFolder
from gpvit.data.detection import CocoFolder
from gpvit.data.segmentation import MaskFolder
from gpvit.data.subsets import class_covering_subset, per_class_subset, random_subset

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(5))
def test_each_class_has_so_many_and_larger_choices_hold_smaller_ones(seed):
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2], [20, 9, 12])).tolist()
    choices = [per_class_subset(labels, NAMES, count, seed) for count in (1, 3, 9)]
    for count, chosen in zip((1, 3, 9), choices, strict=True):
        assert np.bincount([labels[i] for i in chosen]).tolist() == [count] * 3
        assert chosen == sorted(set(chosen))
    assert set(choices[0]) < set(choices[1]) < set(choices[2])
    assert choices[1] == per_class_subset(labels, NAMES, 3, seed)
    assert choices[1] != per_class_subset(labels, NAMES, 3, seed + 1)


def test_a_class_with_fewer_is_taken_whole_and_named():
    with pytest.warns(UserWarning, match=r"per_class 3: b \(1\), c \(0\) have fewer images"):
        assert len(per_class_subset([0, 1, 0, 0, 0], NAMES, 3)) == 4


@pytest.mark.parametrize("seed", range(5))
def test_random_choices_are_nested_and_follow_the_seed(seed):
    small, large = (random_subset(50, count, seed) for count in (10, 30))
    assert len(small) == 10
    assert set(small) < set(large)
    assert large == sorted(large) == random_subset(50, 30, seed) != random_subset(50, 30, seed + 1)
    assert random_subset(50, 50, seed) == list(range(50))


@pytest.mark.parametrize("seed", range(10))
def test_every_class_is_covered_as_soon_as_there_are_images_for_it(seed):
    random = np.random.default_rng(seed)
    images = np.sort(random.integers(0, 60, 200))  # most images have several objects, some none
    labels = np.minimum(random.geometric(0.25, 200), 12)  # the last classes are rare
    choices = {count: class_covering_subset(60, images, labels, count, seed) for count in (1, 6, 12, 25)}
    assert all(len(set(chosen)) == count for count, chosen in choices.items())
    assert set(choices[1]) < set(choices[6]) < set(choices[12]) < set(choices[25])
    assert set(labels[np.isin(images, choices[12])]) == set(labels)  # no image is needed for more than one class
    assert (
        choices[25]
        == class_covering_subset(60, images, labels, 25, seed)
        != class_covering_subset(60, images, labels, 25, seed + 1)
    )


@pytest.mark.parametrize("count", [0, 51])
def test_a_choice_that_there_is_not_is_refused(count):
    with pytest.raises(ValueError, match=f"subset {count}: the training part has 50 images; give 1 to 50"):
        random_subset(50, count)
    with pytest.raises(ValueError, match="the training part has 50 images"):
        class_covering_subset(50, np.zeros(1, int), np.ones(1, int), count)
    with pytest.raises(ValueError, match="per_class 0: give 1 image or more"):
        per_class_subset([0, 1, 2], NAMES, 0)


def test_class_folders_keep_validation_whole(tmp_path):
    for split, count in (("train", 7), ("val", 4)):
        for name in ("crow", "owl"):
            for index in range(count):
                path = tmp_path / split / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (40, 40)).save(path)
    data = ImageFolder(tmp_path, batch_size=2, num_workers=0, per_class=3)
    data.setup("fit")
    assert (len(data.train_set), len(data.val_set)) == (6, 8)
    labels = [int(label) for _, batch in data.train_dataloader() for label in batch]
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]


def test_annotated_pictures_bring_their_own_objects(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 9), ("val", 5)):
        make_part(tmp_path, part, count, random)
    whole, few = (CocoFolder(tmp_path, num_workers=0, subset=subset) for subset in (None, 3))
    pictures, all_pictures = few.samples("train"), whole.samples("train")
    assert (len(pictures), len(few.samples("val"))) == (3, 5)
    by_name = {all_pictures.name(i): all_pictures.objects(i) for i in range(9)}
    for i in range(3):
        assert np.array_equal(pictures.objects(i).boxes, by_name[pictures.name(i)].boxes)
    assert set(np.concatenate([pictures.objects(i).labels for i in range(3)])) == {1, 2, 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few.setup("fit")
    assert len(few.train_set) == 3


def test_pairs_stay_pairs(tmp_path):
    write_pairs(tmp_path)
    whole, few = (MaskFolder(tmp_path, num_workers=0, subset=subset, subset_seed=1) for subset in (None, 2))
    by_name = {pair.name: pair for pair in whole.samples("train")}
    chosen = list(few.samples("train"))
    assert (len(chosen), len(few.samples("val"))) == (2, 3)
    assert all(np.array_equal(pair.mask, by_name[pair.name].mask) for pair in chosen)
