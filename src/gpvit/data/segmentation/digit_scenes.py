"""Segmentation that is learned without a download: the ink of handwritten digits on photographs."""

from functools import partial
from typing import Literal

from gpvit.data.colors import class_colors
from gpvit.data.segmentation.scenes import DrawnScenes, SceneData
from gpvit.data.synthetic.scenes import digit_scene


class DigitScenes(SceneData):
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
        seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        names, colors = ["background", *map(str, range(10))], [(0, 0, 0), *class_colors(10)]
        super().__init__(names, image_size, train_scenes, test_scenes, batch_size, num_workers, colors)
        self.digits = {"train": train_digits or digits, "val": digits}
        self.seed = seed

    def samples(self, split: Literal["train", "val"]) -> DrawnScenes:
        """Give the scenes of one part."""
        drawn_from: Literal["train", "test"] = "train" if split == "train" else "test"
        size = self.preprocessing.input_size[1:]
        draw = partial(digit_scene, drawn_from, seed=self.seed, size=size, digits=self.digits[split])
        return DrawnScenes(f"digits_{drawn_from}", self.num_scenes[split], draw)
