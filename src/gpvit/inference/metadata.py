"""What inference needs to know of a model: its preprocessing and its classes."""

from typing import Any

from timm.data import ImageNetInfo
from torch import nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from gpvit.data.colors import Color, class_colors
from gpvit.data.detection.categories import Categories
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.transforms.segmentation import SegmentationPreprocessing


def task_of(model: nn.Module) -> str:
    """Tell what a model does: ``"segmentation"``, ``"detection"``, or ``"classification"`` where it does not say."""
    return str(getattr(model, "task", "classification"))


def preprocessing_of(model: Any) -> Preprocessing:
    """Read how images are prepared from ``pretrained_cfg``; in gray for one channel, and refused for 2 or above 3."""
    return Preprocessing.from_pretrained_cfg(_cfg(model), getattr(model, "in_chans", None))


def segmentation_preprocessing_of(model: Any) -> SegmentationPreprocessing:
    """Read from a segmenter how its images are prepared, as :func:`preprocessing_of` does from a classifier."""
    return SegmentationPreprocessing.from_pretrained_cfg(_cfg(model), getattr(model, "in_chans", None))


def class_names_of(model: Any) -> tuple[str, ...]:
    """Name a model's classes: by its checkpoint, else those of the task's usual data set, else by number.

    A classifier of 1,000 classes is taken to know ImageNet-1k, a segmenter of 150 ADE20K, a detector of 80 COCO.
    A detector's numbers are its labels, which begin with 1.
    """
    names = _cfg(model).get("label_names")
    return tuple(names) if names else usual_class_names(task_of(model), model.num_classes)


def usual_class_names(task: str, num_classes: int) -> tuple[str, ...]:
    """Name so many classes where nobody does: as the task's usual data set, or by number."""
    match task, num_classes:
        case "classification", 1000:
            return tuple(synonyms.split(", ")[0] for synonyms in ImageNetInfo().label_descriptions())
        case "segmentation", 150:
            from gpvit.data.segmentation.folders import ade20k_classes  # loads what training needs

            return ade20k_classes()
        case "detection", 80:
            return coco_categories().names
        case _:
            first = int(task == "detection")
            return tuple(f"class {index}" for index in range(first, first + num_classes))


def categories_of(model: Any) -> Categories:
    """Say what a detector's labels mean: their names, and their ids in annotation and result files.

    The ids are those of the checkpoint, else COCO's for the classes of COCO, else the labels.
    """
    names, ids = class_names_of(model), _cfg(model).get("category_ids")
    if ids is not None:
        return Categories(names, tuple(ids))
    return coco if names == (coco := coco_categories()).names else Categories.from_names(names)


def coco_categories() -> Categories:
    """Return the 80 classes of COCO, whose ids go up to 90."""
    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # by id, with gaps and the background as 0
    ids = [category for category, name in enumerate(names) if category and name != "N/A"]
    return Categories(tuple(names[category] for category in ids), tuple(ids))


def class_colors_of(model: Any) -> tuple[Color, ...]:
    """Give each class of a segmenter or detector an RGB colour, 0 to 255: by its checkpoint, else distinct ones."""
    colors = _cfg(model).get("label_colors") or class_colors(model.num_classes)
    return tuple((red, green, blue) for red, green, blue in colors)


def _cfg(model: Any) -> dict[str, Any]:
    return getattr(model, "pretrained_cfg", {})
