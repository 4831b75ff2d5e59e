"""Segmentation of scenes that are drawn when they are asked for."""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from gpvit.data.colors import Color
from gpvit.data.segmentation.dataset import Sample
from gpvit.data.segmentation.module import SegmentationData
from gpvit.data.transforms.segmentation import SegmentationPreprocessing
from gpvit.data.transforms.segmentation_augmentation import SegmentationAugmentation
from gpvit.errors import UserError

_UNCHANGED = SegmentationAugmentation(scale=(1, 1), max_class_share=1, horizontal_flip=0, photometric=False)


class SceneData(SegmentationData):
    """Scenes, the same ones in every epoch; there are as many as one likes, so nothing augments them.

    Args:
        class_names: The classes in the order of their labels.
        image_size: Height and width of a scene in pixels, a multiple of 32.
        train_scenes: Scenes to train on in an epoch.
        test_scenes: Scenes to validate and test with.
        batch_size: Scenes per batch and process.
        num_workers: Loader processes.
        colors: One RGB colour, 0 to 255, per class; None chooses distinct ones.

    Raises:
        UserError: `image_size` is no multiple of 32, or there is nothing to train on or to test with.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        image_size: int,
        train_scenes: int,
        test_scenes: int,
        batch_size: int,
        num_workers: int,
        colors: Sequence[Color] | None = None,
    ) -> None:
        if min(train_scenes, test_scenes) < 1:
            raise UserError(f"train_scenes {train_scenes} and test_scenes {test_scenes}: give 1 or more of each")
        preprocessing = SegmentationPreprocessing((3, image_size, image_size), max_size=None)
        if image_size % preprocessing.size_divisor:
            raise UserError(f"image_size {image_size}: give a multiple of {preprocessing.size_divisor}")
        super().__init__(
            class_names, preprocessing, _UNCHANGED, batch_size, num_workers, val_batch_size=batch_size, colors=colors
        )
        self.num_scenes = {"train": train_scenes, "val": test_scenes}


class DrawnScenes(Sequence[Sample]):
    """Scenes with their label maps, each drawn when it is asked for.

    Args:
        name: What they are called, before their numbers.
        count: How many there are.
        draw: Draws the scene of a number, with an `image` `(H, W, 3)` and `labels` `(H, W)`, both uint8. Loader
            processes get a copy of it, so it should hold nothing but plain values.
    """

    def __init__(self, name: str, count: int, draw: Callable[[int], Any]) -> None:
        self.names = [f"{name}_{index:05d}" for index in range(count)]
        self.draw = draw

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # one sample at a time, no slices
        if not 0 <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        scene = self.draw(index)
        return Sample(self.names[index], Image.fromarray(scene.image), scene.labels)
