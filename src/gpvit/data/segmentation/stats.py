"""What the masks of a data set hold, counted before training rather than wondered about after it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.table import Table

from gpvit.data.images import ImageError
from gpvit.data.segmentation.masks import IGNORE
from gpvit.data.segmentation.samples import Pair
from gpvit.errors import UserError

_SHOWN = 5  # faults or names in a message


@dataclass(frozen=True, eq=False)
class LabelReport:
    """How often each class occurs in a sample of masks.

    Args:
        class_names: The classes in the order of their labels.
        pixels: Pixels of each class, `(K,)`.
        images: Images in which each class occurs, `(K,)`.
        ignored: Pixels of label 255.
        examined: How many pairs were read.
        total: How many there are.
        damaged: What was said about each pair that could not be read.
    """

    class_names: tuple[str, ...]
    pixels: np.ndarray
    images: np.ndarray
    ignored: int
    examined: int
    total: int
    damaged: tuple[str, ...] = field(default=())

    @property
    def shares(self) -> np.ndarray:
        """The part of the counted pixels that each class has, `(K,)`."""
        return self.pixels / max(self.pixels.sum(), 1)

    @property
    def ignored_share(self) -> float:
        """The part of all pixels that is ignored."""
        return self.ignored / max(int(self.pixels.sum()) + self.ignored, 1)

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes that do not occur."""
        return tuple(name for name, count in zip(self.class_names, self.pixels, strict=True) if not count)

    def warnings(self) -> list[str]:
        """Say what deserves a look: classes that never occur, masks without a label, damaged files."""
        said = [f"damaged: {message}" for message in self.damaged]
        seen = f"{self.examined} of {self.total} masks"
        if self.absent:
            more = f" and {len(self.absent) - _SHOWN} more" if len(self.absent) > _SHOWN else ""
            said.append(f"in {seen}, these classes never occur: {', '.join(self.absent[:_SHOWN])}{more}")
        if self.ignored_share > 0.5:
            said.append(f"in {seen}, {self.ignored_share:.0%} of the pixels are ignored; nothing is learned from them")
        return said

    def table(self) -> Table:
        """Lay the counts out for a terminal, the most frequent class first."""
        title = f"{self.examined} of {self.total} masks, {self.ignored_share:.1%} of their pixels ignored"
        table = Table("label", "class", title=title)
        for heading in ("pixels", "share", "images"):
            table.add_column(heading, justify="right")
        for label in np.argsort(-self.pixels, kind="stable"):
            counts = (f"{self.pixels[label]:,}", f"{self.shares[label]:.2%}", f"{self.images[label]:,}")
            table.add_row(str(label), self.class_names[label], *counts)
        return table

    def to_csv(self) -> str:
        """Write the counts as lines of CSV, in the order of the labels; the last line is of the ignored pixels."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["label", "class", "pixels", "share", "images"])
        for label, name in enumerate(self.class_names):
            writer.writerow([label, name, self.pixels[label], f"{self.shares[label]:.6f}", self.images[label]])
        writer.writerow([IGNORE, "(ignored)", self.ignored, "", ""])
        return text.getvalue()


def label_report(pairs: Sequence[Pair], class_names: Sequence[str], limit: int = 200) -> LabelReport:
    """Read pairs at even distances, check each, and count its labels.

    Args:
        pairs: As `SegmentationData.pairs` gives them.
        class_names: The classes in the order of their labels.
        limit: How many pairs are read at most.

    Raises:
        ValueError: A mask holds a label of no class, or differs from its picture in size; the message names the
            first few. Damaged files are told in the report.
    """
    pixels, images = (np.zeros(len(class_names), np.int64) for _ in range(2))
    ignored = 0
    faults: list[str] = []
    damaged: list[str] = []
    chosen = np.linspace(0, len(pairs) - 1, min(limit, len(pairs))).astype(int)
    for index in chosen:
        try:
            mask = pairs[int(index)].mask
        except (ImageError, OSError) as error:
            damaged.append(str(error))
            continue
        except ValueError as error:
            faults.append(str(error))
            continue
        counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
        pixels += counts[: len(class_names)]
        images += counts[: len(class_names)] > 0
        ignored += int(counts[IGNORE])
    if faults:
        shown = "\n".join(faults[:_SHOWN])
        raise UserError(f"{len(faults)} of {len(chosen)} pairs examined do not fit the classes or each other:\n{shown}")
    return LabelReport(tuple(class_names), pixels, images, ignored, len(chosen), len(pairs), tuple(damaged))
