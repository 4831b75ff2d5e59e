"""Handwritten digits on photographs, to be found one by one: real data without a download."""

from typing import Any, Literal

import numpy as np
from PIL import Image

from gpvit.data.detection.annotations import Objects
from gpvit.data.detection.categories import Categories
from gpvit.data.detection.module import DetectionData, Sample, Samples
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.data.transforms.detection import DetectionAugmentation
from gpvit.errors import UserError

_AS_DRAWN = DetectionAugmentation(horizontal_flip=0.0, short_sides=())  # a mirrored digit is none


class DigitScenes(DetectionData):
    """Scenes of `digit_scene` with the boxes and masks of ten classes of digits.

    Scenes are drawn as they are needed; digits and photographs of training and validation are different ones.

    Args:
        image_size: Height and width of a scene in pixels.
        train_scenes: Scenes to train on in an epoch, the same ones in every epoch.
        test_scenes: Scenes to validate and test with.
        digits: Fewest and most digits that are drawn into a scene.
        train_digits: The same for training, where fuller scenes teach more in the same time; None for as many.
        digit_size: Smallest and largest height of a digit in pixels.
        seed: Another seed gives other scenes, of training and of validation.
        masks: Give masks, too.
        batch_size: Scenes per batch and process.
        num_workers: Loader processes; 0 draws in the training process, which takes some 4 ms a scene.

    Raises:
        UserError: The numbers leave nothing to draw.

    Example:
        >>> scenes = DigitScenes(batch_size=4)
        >>> scenes.setup("validate")
        >>> images, targets = next(iter(scenes.val_dataloader()))
        >>> images[0].shape, sorted(targets[0])
        (torch.Size([3, 128, 128]), ['area', 'boxes', 'image_id', 'iscrowd', 'labels', 'masks'])
    """

    examined = 200  # of scenes that are drawn for it

    def __init__(
        self,
        image_size: int = 128,
        train_scenes: int = 4000,
        test_scenes: int = 250,
        digits: tuple[int, int] = (2, 8),
        train_digits: tuple[int, int] | None = None,
        digit_size: tuple[float, float] = (10, 60),
        seed: int = 0,
        masks: bool = True,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        if not 1 <= min(train_scenes, test_scenes) <= max(train_scenes, test_scenes) <= 10**6:
            raise UserError(f"train_scenes {train_scenes} and test_scenes {test_scenes}: give 1 to 1,000,000 of each")
        super().__init__(Categories(tuple("0123456789"), tuple(range(10))), masks, _AS_DRAWN, batch_size, num_workers)
        common = {"seed": seed, "size": (image_size, image_size), "digit_size": digit_size}
        self._scenes = {
            "train": DrawnScenes("train", train_scenes, masks, {**common, "digits": train_digits or digits}),
            "val": DrawnScenes("test", test_scenes, masks, {**common, "digits": digits}),
        }
        for scenes in self._scenes.values():
            scenes.objects(0)  # says at once what is wrong with the numbers

    def samples(self, split: Literal["train", "val"]) -> "DrawnScenes":
        """Give the scenes of one part, each drawn when it is asked for."""
        return self._scenes[split]


class DrawnScenes(Samples):
    """Scenes 0 to `count` - 1 of `digit_scene`, which takes `options`, as images with objects."""

    def __init__(self, split: Literal["train", "test"], count: int, masks: bool, options: dict[str, Any]) -> None:
        self.split = split
        self.masks = masks
        self.options = options
        self.sizes = np.tile(options["size"], (count, 1))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # one scene at a time, no slices
        number = range(len(self))[index]
        scene = digit_scene(self.split, number, **self.options)
        areas = scene.masks.sum((1, 2), dtype=np.float32)
        objects = Objects(scene.boxes, scene.digits + 1, areas, np.zeros(len(areas), bool))
        masks = scene.masks.view(np.uint8) if self.masks else None
        return Sample(number, self.name(number), Image.fromarray(scene.image), objects, masks)

    def name(self, index: int) -> str:
        """Say what messages call a scene."""
        return f"digits_{self.split}_{index:05d}"
