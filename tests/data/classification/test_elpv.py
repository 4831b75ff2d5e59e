import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpvit.data import ELPV, Preprocessing
from gpvit.data.classification.elpv import Cell, is_validation
from gpvit.errors import UserError

SMALL = Preprocessing((1, 32, 32), (0.6,), (0.16,), crop_pct=1.0)
RUNS = [60, 300, 180, 360, 714, 530, 72, 180, 48, 180]
"""How many cells of a kind follow each other in the published file: single crystals first, then many."""


@pytest.fixture
def root(tmp_path):
    """Six modules: of 60, two of 60, one of 72, of 48, and a run that is too long to be told apart."""
    kinds = 60 * ["mono"] + 120 * ["poly"] + 72 * ["mono"] + 48 * ["poly"] + 75 * ["mono"]
    levels = ["0.0", "0.3333333333333333", "0.6666666666666666", "1.0"]
    (tmp_path / "images").mkdir()
    lines = []
    for number, kind in enumerate(kinds):
        name = f"images/cell{number:04d}.png"
        Image.fromarray(np.full((30, 30), number % 256, np.uint8)).save(tmp_path / name)
        lines.append(f"{name}  {levels[number % 4]}     {kind}\n")
    (tmp_path / "labels.csv").write_text("".join(lines))
    return tmp_path


def opened(root, **options):
    data = ELPV(root, preprocessing=SMALL, batch_size=4, num_workers=0, **options)
    data.setup("fit")
    return data


def numbers(samples):
    return [int(Path(path).stem[4:]) for path, _ in samples]


def test_whole_modules_are_validated_with(root):
    data = opened(root)
    assert numbers(data.val_set.samples) == [*range(60, 120), *range(180, 252)]
    train = data.train_set.dataset
    assert sorted(numbers(train.samples) + numbers(data.val_set.samples)) == list(range(375))


def test_the_published_file_is_split_into_1964_and_660_cells():
    kinds = [kind for kind, length in zip(5 * ["mono", "poly"], RUNS, strict=True) for _ in range(length)]
    flags = is_validation([Cell(Path(), 0.0, kind) for kind in kinds])
    assert len(flags) == 2624
    assert sum(flags) == 660
    assert not any(flags[900:2144])  # modules that cannot be told apart
    assert sum(flag and kind == "mono" for flag, kind in zip(flags, kinds, strict=True)) == 180


def test_labels_are_of_two_classes_or_of_four(root):
    data = opened(root)
    assert data.class_names == ("functional", "defective")
    assert data.val_set.targets[:8] == [0, 0, 1, 1, 0, 0, 1, 1]
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (4, 1, 32, 32)
    levels = opened(root, levels=True)
    assert levels.num_classes == 4
    assert levels.val_set.targets[:8] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_one_kind_and_few_images_of_each_class(root):
    data = opened(root, kind="poly", per_class=5)
    assert len(data.train_set) == 10
    assert numbers(data.val_set.samples) == list(range(60, 120))  # of the same modules


@pytest.mark.parametrize("line", ["images/cell0000.png 1.5 mono", "images/cell0000.png x mono", "a,b", "p 0 multi", ""])
def test_a_line_that_is_not_as_published_is_named(line, root):
    path = root / "labels.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"labels.csv, line 376: .*; a line is 'images/NAME.png PROBABILITY KIND'"):
        ELPV(root)


def test_what_is_missing_is_named(root):
    with pytest.raises(FileNotFoundError, match="none: no such folder; gpvit data elpv --out FOLDER puts the dataset"):
        ELPV(root / "none")
    with pytest.raises(FileNotFoundError, match=r"images holds no labels.csv"):
        ELPV(root / "images")
    os.remove(root / "images" / "cell0007.png")
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 375 images, .*cell0007.png first"):
        ELPV(root)
