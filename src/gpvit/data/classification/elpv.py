"""ELPV: 2,624 photographs of solar cells that glow in the dark, 300x300 gray pixels, where defects show."""

from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gpvit.data.classification.folders import LabelledFiles
from gpvit.data.classification.module import ClassificationData
from gpvit.data.files import read_lines, require_folder
from gpvit.data.subsets import per_class_subset
from gpvit.data.transforms.classification import Augmentation, Preprocessing, training_transform
from gpvit.errors import UserError
from gpvit.io import located

LEVELS = ("functional", "possibly defective", "probably defective", "defective")
PREPROCESSING = Preprocessing((1, 300, 300), (0.597,), (0.161,), crop_pct=1.0)
AUGMENTATION = Augmentation((0.7, 1.0), (0.9, 1.1), rand_augment=None, erase_probability=0.0)
_MODULE = 60  # cells, of most modules
_LARGEST_MODULE = 72

Kind = Literal["mono", "poly"]


class Cell(NamedTuple):
    """A solar cell: its image, the probability of a defect, as experts judged it, and its kind of silicon."""

    path: Path
    probability: float
    kind: Kind


class ELPV(ClassificationData):
    """The dataset ELPV, whose cells are functional or defective; `gpvit data elpv --out FOLDER` puts it in place.

    A cell is defective where the probability of a defect is above one half: 0.67 and 1 are, 0 and 0.33 are not. Cells
    of one module resemble each other, so whole modules are validated with; `is_validation` says which. Nothing is held
    back beside them: whoever picks a checkpoint by its validation score reads an optimistic score.

    Args:
        root: The folder that holds `labels.csv` and `images/`.
        kind: Take cells of one kind of silicon alone, "mono" or "poly"; None takes both.
        levels: Tell four classes apart, one for each probability, in place of two.
        per_class: Train on so many images of each class, chosen at random; None for all.
        subset_seed: Another seed chooses others.
        preprocessing: By default images keep their size, in one channel.
        augmentation: What training varies; by default crops of 70 % and more, and mirror images.
        **options: `batch_size`, `num_workers` and `max_damaged` of `ClassificationData`.

    Raises:
        FileNotFoundError: The folder, `labels.csv` or an image is missing.
        UserError: A line of `labels.csv` is not as published.
    """

    def __init__(
        self,
        root: str | Path,
        kind: Kind | None = None,
        levels: bool = False,
        per_class: int | None = None,
        subset_seed: int = 0,
        preprocessing: Preprocessing = PREPROCESSING,
        augmentation: Augmentation = AUGMENTATION,
        **options: Any,
    ) -> None:
        cells = read_cells(located(root))
        names = LEVELS if levels else (LEVELS[0], LEVELS[-1])
        super().__init__(names, preprocessing, augmentation, **options)
        self.per_class = per_class
        self.subset_seed = subset_seed
        steps = len(names) - 1
        self._parts: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], [])
        for cell, is_val in zip(cells, is_validation(cells), strict=True):
            if kind in (None, cell.kind):
                self._parts[is_val].append((str(cell.path), round(cell.probability * steps)))

    def training_samples(self) -> LabelledFiles:
        """List the images of training, or of the subset of it."""
        samples = self._parts[0]
        labels = [label for _, label in samples]
        chosen = per_class_subset(labels, self.class_names, self.per_class, self.subset_seed)
        return LabelledFiles([samples[i] for i in chosen], training_transform(self.preprocessing, self.augmentation))

    def validation_samples(self) -> LabelledFiles:
        """List the images of validation."""
        return LabelledFiles(self._parts[1], self.preprocessing.transform())


def read_cells(root: Path) -> list[Cell]:
    """Read `labels.csv`: a line for each cell, with the path of its image, probability and kind."""
    require_folder(root, "gpvit data elpv --out FOLDER puts the dataset there")
    if not (root / "labels.csv").is_file():
        raise FileNotFoundError(f"{root} holds no labels.csv; give the folder with labels.csv and images/")
    cells: list[Cell] = []
    for number, line in enumerate(read_lines(root / "labels.csv"), start=1):
        try:
            name, probability, kind = line.replace(",", " ").split()
            cell = Cell(root / name, float(probability), kind)  # type: ignore[arg-type]  # checked below
            if not 0 <= cell.probability <= 1 or kind not in ("mono", "poly"):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{root / 'labels.csv'}, line {number}: {line!r}; a line is 'images/NAME.png PROBABILITY KIND', of a "
                "probability from 0 to 1 and the kind mono or poly"
            ) from None
        cells.append(cell)
    if absent := [cell.path for cell in cells if not cell.path.is_file()]:
        raise FileNotFoundError(f"{root} lacks {len(absent)} of {len(cells)} images, {absent[0]} first")
    return cells


def is_validation(cells: list[Cell]) -> list[bool]:
    """Say of each cell whether it is validated with: 660 of the 2,624, of 11 of 44 modules.

    The file names no modules, but its cells come module by module: where the kind changes, a module ends. A run of one
    kind whose length is a multiple of 60 is modules of 60 cells, one of at most 72 cells is one module; every second
    one of these is for validation. Two longer runs, whose modules cannot be told apart, are for training.
    """
    flags: list[bool] = []
    modules = 0
    for _, run in groupby(cells, key=lambda cell: cell.kind):
        length = len(list(run))
        size = _MODULE if length % _MODULE == 0 else length
        for _ in range(length // size):
            flags += [size <= _LARGEST_MODULE and modules % 2 == 1] * size
            modules += size <= _LARGEST_MODULE
    return flags
