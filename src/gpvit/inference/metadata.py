"""What inference needs to know of a model: its preprocessing and its classes."""

from typing import cast

from timm.data import ImageNetInfo
from torch import nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from gpvit.data.colors import Color, class_colors
from gpvit.data.detection.categories import Categories
from gpvit.data.transforms.classification import Preprocessing
from gpvit.data.transforms.segmentation import SegmentationPreprocessing

NUM_IMAGENET_CLASSES = 1000
NUM_ADE20K_CLASSES = 150
NUM_COCO_CLASSES = 80


def task_of(model: nn.Module) -> str:
    """Tell what a model does: ``"segmentation"``, ``"detection"``, or ``"classification"`` where it does not say."""
    return str(getattr(model, "task", "classification"))


def preprocessing_of(model: nn.Module) -> Preprocessing:
    """Read from a model how its images are prepared: its ``pretrained_cfg``, in gray for a model of one channel.

    Raises:
        ValueError: If the model takes neither gray nor colour images.
    """
    return Preprocessing.from_pretrained_cfg(_cfg(model), cast(int | None, getattr(model, "in_chans", None)))


def segmentation_preprocessing_of(model: nn.Module) -> SegmentationPreprocessing:
    """Read from a segmenter how its images are prepared, as :func:`preprocessing_of` does from a classifier.

    Raises:
        ValueError: If the model takes neither gray nor colour images.
    """
    return SegmentationPreprocessing.from_pretrained_cfg(
        _cfg(model), cast(int | None, getattr(model, "in_chans", None))
    )


def class_names_of(model: nn.Module) -> tuple[str, ...]:
    """Name a model's classes: by its checkpoint, else those of the task's usual data set, else by number.

    A classifier of 1,000 classes is taken to know ImageNet-1k, a segmenter of 150 ADE20K, a detector of 80 COCO.
    A detector's numbers are its labels, which begin with 1.
    """
    if names := _cfg(model).get("label_names"):
        return tuple(cast(list[str], names))
    num_classes = cast(int, model.num_classes)
    if (task_of(model), num_classes) == ("classification", NUM_IMAGENET_CLASSES):
        return tuple(synonyms.split(", ")[0] for synonyms in ImageNetInfo().label_descriptions())
    if (task_of(model), num_classes) == ("segmentation", NUM_ADE20K_CLASSES):
        from gpvit.data.segmentation.folders import ade20k_classes  # loads what training needs

        return ade20k_classes()
    if task_of(model) == "detection":
        if num_classes == NUM_COCO_CLASSES:
            return coco_categories().names
        return tuple(f"class {label}" for label in range(1, num_classes + 1))
    return tuple(f"class {index}" for index in range(num_classes))


def categories_of(model: nn.Module) -> Categories:
    """Say what a detector's labels mean: their names, and their ids in annotation and result files.

    The ids are those of the checkpoint, else COCO's for the classes of COCO, else the labels.
    """
    names, ids = class_names_of(model), _cfg(model).get("category_ids")
    if ids is not None:
        return Categories(names, tuple(cast(list[int], ids)))
    return coco if names == (coco := coco_categories()).names else Categories.from_names(names)


def coco_categories() -> Categories:
    """Return the 80 classes of COCO, whose ids go up to 90."""
    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # by id, with gaps and the background as 0
    ids = [category for category, name in enumerate(names) if category and name != "N/A"]
    return Categories(tuple(names[category] for category in ids), tuple(ids))


def class_colors_of(model: nn.Module) -> tuple[Color, ...]:
    """Give each class of a segmenter or detector an RGB colour, 0 to 255: by its checkpoint, else distinct ones."""
    if colors := _cfg(model).get("label_colors"):
        return tuple((red, green, blue) for red, green, blue in cast(list[list[int]], colors))
    return class_colors(cast(int, model.num_classes))


def _cfg(model: nn.Module) -> dict[str, object]:
    return cast(dict[str, object], getattr(model, "pretrained_cfg", {}))
