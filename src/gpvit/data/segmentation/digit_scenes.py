"""Segmentation that is learned without a download: the ink of handwritten digits on photographs."""

from collections.abc import Sequence
from typing import Literal

from PIL import Image

from gpvit.data.digit_scenes import digit_scene
from gpvit.data.palette import class_colors
from gpvit.data.segmentation.augmentation import SegmentationAugmentation
from gpvit.data.segmentation.module import SegmentationData
from gpvit.data.segmentation.pairs import Pair
from gpvit.data.segmentation.preprocessing import SegmentationPreprocessing

_UNCHANGED = SegmentationAugmentation(scale=(1, 1), max_class_share=1, horizontal_flip=0, photometric=False)


class DigitScenes(SegmentationData):
    """Scenes of `digit_scene` with 11 classes: the background, and the ink of each digit from 0 to 9.

    Training and validation share neither digits nor photographs. Scenes are drawn when they are asked for, the same
    ones in every epoch; there are as many as one likes, so nothing augments them.

    Args:
        image_size: Height and width of a scene in pixels, a multiple of 32.
        train_scenes: Scenes to train on in an epoch.
        test_scenes: Scenes to validate and test with.
        digits: Fewest and most digits that are drawn into a scene.
        train_digits: The same for training, where fuller scenes teach more in the same time; None for as many.
        seed: Another seed gives other scenes, of training and of validation.
        batch_size: Scenes per batch and process.
        num_workers: Loader processes; 0 draws in the training process, which takes some 4 ms a scene.

    Raises:
        ValueError: `image_size` is no multiple of 32, or there is nothing to train on or to test with.

    Example:
        >>> scenes = DigitScenes(batch_size=8)
        >>> scenes.setup("fit")
        >>> [batch.shape for batch in next(iter(scenes.train_dataloader()))]
        [torch.Size([8, 3, 96, 96]), torch.Size([8, 96, 96])]
    """

    def __init__(
        self,
        image_size: int = 96,
        train_scenes: int = 6400,
        test_scenes: int = 300,
        digits: tuple[int, int] = (1, 4),
        train_digits: tuple[int, int] | None = (3, 9),
        seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        if min(train_scenes, test_scenes) < 1:
            raise ValueError(f"train_scenes {train_scenes} and test_scenes {test_scenes}: give 1 or more of each")
        preprocessing = SegmentationPreprocessing((3, image_size, image_size), fit_size=None)
        if image_size % preprocessing.divisor:
            raise ValueError(f"image_size {image_size}: give a multiple of {preprocessing.divisor}")
        super().__init__(
            ["background", *map(str, range(10))],
            preprocessing,
            _UNCHANGED,
            batch_size,
            num_workers,
            val_batch_size=batch_size,
            colors=[(0, 0, 0), *class_colors(10)],
        )
        self.num_scenes = {"train": train_scenes, "val": test_scenes}
        self.digits = {"train": train_digits or digits, "val": digits}
        self.seed = seed

    def pairs(self, split: Literal["train", "val"]) -> "ScenePairs":
        """Give the scenes of one part as pictures and label maps."""
        drawn_from: Literal["train", "test"] = "train" if split == "train" else "test"
        size = self.preprocessing.input_size[1:]
        return ScenePairs(drawn_from, self.num_scenes[split], self.seed, size, self.digits[split])


class ScenePairs(Sequence[Pair]):
    """Scenes with their label maps, each drawn when it is asked for.

    Args:
        split: "train" or "test".
        num_scenes: How many there are.
        seed: Of the scenes.
        size: Their height and width.
        digits: Fewest and most digits of each.
    """

    def __init__(
        self,
        split: Literal["train", "test"],
        num_scenes: int,
        seed: int,
        size: tuple[int, int],
        digits: tuple[int, int] = (1, 4),
    ) -> None:
        self.split = split
        self.num_scenes = num_scenes
        self.seed = seed
        self.size = size
        self.digits = digits

    def __len__(self) -> int:
        return self.num_scenes

    def __getitem__(self, index: int) -> Pair:  # type: ignore[override]  # one pair at a time, no slices
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"scene {index} of {self.num_scenes}")
        scene = digit_scene(self.split, index, self.seed, self.size, self.digits)
        return Pair(f"digits_{self.split}_{index:05d}", Image.fromarray(scene.image), scene.labels)
