"""Segmentation that is learned without a download: scenes that are drawn when they are asked for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from PIL import Image

from gpvit.data.colors import class_colors
from gpvit.data.segmentation.module import Sample, SegmentationData
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.data.transforms.segmentation import SegmentationAugmentation, SegmentationPreprocessing
from gpvit.errors import UserError

_UNCHANGED = SegmentationAugmentation(scale=(1, 1), max_class_share=1, horizontal_flip=0, photometric=False)


class DrawnScenes(Sequence[Sample]):
    """Scenes `prefix_00000` to `length` - 1, each drawn when it is asked for.

    `draw` gives the scene of a number, with `image` `(H, W, 3)` and `labels` `(H, W)`, both uint8; it goes to loader
    processes, so it should hold plain values alone.
    """

    def __init__(self, prefix: str, length: int, draw: Callable[[int], Any]) -> None:
        self.prefix = prefix
        self.length = length
        self.draw = draw

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # one sample at a time, no slices
        number = range(self.length)[index]
        scene = self.draw(number)
        return Sample(self.name(number), Image.fromarray(scene.image), scene.labels)

    def name(self, index: int) -> str:
        """Say what messages call a scene."""
        return f"{self.prefix}_{index:05d}"


class SceneData(SegmentationData):
    """Scenes of ten digits and `other` things, the same ones in every epoch.

    There are as many as one likes, so nothing augments them. A subclass says by `samples` how they are drawn.
    """

    def __init__(
        self, other: str, image_size: int, train_scenes: int, test_scenes: int, batch_size: int, num_workers: int
    ) -> None:
        if not 1 <= min(train_scenes, test_scenes) <= max(train_scenes, test_scenes) <= 10**6:
            raise UserError(f"train_scenes {train_scenes} and test_scenes {test_scenes}: give 1 to 1,000,000 of each")
        preprocessing = SegmentationPreprocessing((3, image_size, image_size), max_size=None)
        if image_size % preprocessing.size_divisor:
            raise UserError(f"image_size {image_size}: give a multiple of {preprocessing.size_divisor}")
        names, colors = [other, *map(str, range(10))], [(0, 0, 0), *class_colors(10)]
        super().__init__(names, preprocessing, _UNCHANGED, batch_size, num_workers, batch_size, colors)
        self.num_scenes = {"train": train_scenes, "val": test_scenes}


class DigitScenes(SceneData):
    """Scenes of `digit_scene` with 11 classes: the background, and the ink of each digit from 0 to 9.

    Training and validation share neither digits nor photographs.

    Args:
        image_size: Height and width of a scene in pixels, a multiple of 32.
        train_scenes: Scenes to train on in an epoch.
        test_scenes: Scenes to validate and test with.
        digits: Fewest and most digits that are drawn into a scene.
        train_digits: The same for training, where fuller scenes teach more in the same time; None for as many.
        digit_size: Smallest and largest height of a digit in pixels.
        seed: Another seed gives other scenes, of training and of validation.
        batch_size: Scenes per batch and process.
        num_workers: Loader processes; 0 draws in the training process, which takes some 4 ms a scene.

    Raises:
        UserError: `image_size` is no multiple of 32, or there is nothing to train on or to test with.

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
        digit_size: tuple[float, float] = (10, 60),
        seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        super().__init__("background", image_size, train_scenes, test_scenes, batch_size, num_workers)
        self.digits = {"train": train_digits or digits, "val": digits}
        self.digit_size = digit_size
        self.seed = seed

    def samples(self, split: Literal["train", "val"]) -> DrawnScenes:
        """Give the scenes of one part."""
        drawn_from: Literal["train", "test"] = "train" if split == "train" else "test"
        size = self.preprocessing.input_size[1:]
        options: dict[str, Any] = {
            "seed": self.seed,
            "size": size,
            "digits": self.digits[split],
            "digit_size": self.digit_size,
        }
        draw = partial(digit_scene, drawn_from, **options)
        return DrawnScenes(f"digits_{drawn_from}", self.num_scenes[split], draw)
