"""How `gpvit predict` shows what models answer: a table, a line of JSON and files for each task."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpvit.errors import UserError
from gpvit.inference.results.classification import ClassificationResult
from gpvit.inference.results.detection import DetectionResult, labels_named
from gpvit.inference.results.segmentation import SegmentationResult

_BAR_COLUMNS = 20
_TOP = 5
_SCORE = 0.5


class Answers(Protocol):
    """How the results of one task are shown."""

    suffixes: ClassVar[dict[str, str]]
    """What ends the name of each kind of file that is written for an image."""

    def select(self, result: Any) -> Any:
        """Leave out of a result what was not asked for."""

    def facts(self, result: Any) -> dict[str, Any]:
        """Give a result as plain data for JSON."""

    def table(self, result: Any) -> Table:
        """Lay a result out, with a bar for each row's share or score."""

    def write(self, result: Any, files: dict[str, Path]) -> None:
        """Write the files of each kind that is named."""


@dataclass(frozen=True)
class ProbableClasses:
    """The most probable classes of a classifier.

    Args:
        top: How many.
    """

    top: int
    suffixes: ClassVar[dict[str, str]] = {"picture": "_predicted"}

    def select(self, result: ClassificationResult) -> ClassificationResult:
        """Leave out nothing; the rest is in the ranking."""
        return result

    def facts(self, result: ClassificationResult) -> dict[str, Any]:
        """Give the classes as plain data."""
        return result.to_dict(self.top)

    def table(self, result: ClassificationResult) -> Table:
        """Lay out the classes."""
        rows = (
            (f"{probability:6.1%}", _bar(probability), Text(name), Text(f"({index})", style="dim"))
            for name, index, probability in result.top(self.top)
        )
        return _table(rows)

    def write(self, result: ClassificationResult, files: dict[str, Path]) -> None:
        """Write the annotated picture."""
        if "picture" in files:
            result.save(files["picture"], self.top)


@dataclass(frozen=True)
class ClassAreas:
    """The classes of a segmenter and how much of the image each covers."""

    suffixes: ClassVar[dict[str, str]] = {"picture": "_predicted", "labels": "_labels"}

    def select(self, result: SegmentationResult) -> SegmentationResult:
        """Leave out nothing."""
        return result

    def facts(self, result: SegmentationResult) -> dict[str, Any]:
        """Give the areas as plain data."""
        return result.to_dict()

    def table(self, result: SegmentationResult) -> Table:
        """Lay out the areas."""
        rows = (
            (f"{share:6.1%}", _bar(share), Text(name), Text(f"({index}), {pixels} pixels", style="dim"))
            for name, index, pixels, share in result.areas()
        )
        return _table(rows)

    def write(self, result: SegmentationResult, files: dict[str, Path]) -> None:
        """Write the overlay with its legend, and the labels."""
        if "picture" in files:
            result.save(files["picture"])
        result.save_labels(files["labels"])


@dataclass(frozen=True)
class FoundObjects:
    """The objects that a detector found.

    Args:
        score: The least score of an object.
        classes: Names of the classes; None for all.
    """

    score: float
    classes: tuple[str, ...] | None
    suffixes: ClassVar[dict[str, str]] = {"picture": "_predicted"}

    def select(self, result: DetectionResult) -> DetectionResult:
        """Leave out objects of other classes and lower scores."""
        return result.filtered(self.score, self.classes)

    def facts(self, result: DetectionResult) -> dict[str, Any]:
        """Give the objects as plain data."""
        return result.to_dict()

    def table(self, result: DetectionResult) -> Table:
        """Lay out the classes with their best scores and how many objects there are of each."""
        rows = (
            (f"{best:6.2f}", _bar(best), Text(name), Text(f"({label}), {_objects(number)}", style="dim"))
            for name, label, number, best in result.counts()
        )
        return _table(rows if len(result.boxes) else [(Text(f"nothing of score {self.score:g} or more", style="dim"),)])

    def write(self, result: DetectionResult, files: dict[str, Path]) -> None:
        """Write the picture with the objects drawn on it."""
        if "picture" in files:
            result.save(files["picture"])


def answers_of(
    task: str,
    class_names: Sequence[str],
    top: int | None = None,
    score: float | None = None,
    classes: str | None = None,
) -> Answers:
    """Choose how a task's answers are shown.

    Args:
        task: What the model does.
        class_names: Its classes.
        top: Of a classifier, how many classes; 5 if left out.
        score: Of a detector, the least score of an object; 0.5 if left out.
        classes: Of a detector, the names of the classes to look for, separated by commas; all if left out.

    Raises:
        ValueError: If there is no such class, or the score is not in [0, 1].
    """
    if task == "classification":
        return ProbableClasses(_TOP if top is None else top)
    if task == "segmentation":
        return ClassAreas()
    score = _SCORE if score is None else score
    if not 0 <= score <= 1:
        raise UserError(f"score is {score}; give the least score of an object, from 0 to 1")
    wanted = None if classes is None else tuple(name.strip() for name in classes.split(","))
    labels_named(wanted or (), class_names)  # refuses an unknown one before any image is looked at
    return FoundObjects(score, wanted)


def _table(rows: Iterable[tuple[Any, ...]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _bar(share: float) -> ProgressBar:
    return ProgressBar(1, share, width=_BAR_COLUMNS)


def _objects(number: int) -> str:
    return "1 object" if number == 1 else f"{number} objects"
