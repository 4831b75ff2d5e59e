"""Segmentation that needs the whole image: the ink of those digits that equal the framed one in a corner."""

from functools import partial
from typing import Literal

from gpvit.data.colors import class_colors
from gpvit.data.segmentation.scenes import DrawnScenes, SceneData
from gpvit.data.synthetic.key_scenes import KeyScene, key_scene


class KeyScenes(SceneData):
    """Scenes of `key_scene` with 11 classes: the ink of each digit where it is the key or equals it, and all else.

    Training and validation share neither digits nor photographs.

    Args:
        image_size: Height and width of a scene in pixels, a multiple of 32.
        train_scenes: Scenes to train on in an epoch.
        test_scenes: Scenes to validate and test with.
        digits: Fewest and most digits outside of the frame.
        kinds: Which digits there are, two or more; fewer are learned in less time.
        seed: Another seed gives other scenes, of training and of validation.
        batch_size: Scenes per batch and process.
        num_workers: Loader processes; 0 draws in the training process, which takes some 6 ms a scene.

    Raises:
        ValueError: `image_size` is no multiple of 32, or there is nothing to train on or to test with.
    """

    def __init__(
        self,
        image_size: int = 128,
        train_scenes: int = 6400,
        test_scenes: int = 300,
        digits: tuple[int, int] = (4, 8),
        kinds: tuple[int, ...] = tuple(range(10)),
        seed: int = 0,
        batch_size: int = 16,
        num_workers: int = 0,
    ) -> None:
        names, colors = ["other", *map(str, range(10))], [(0, 0, 0), *class_colors(10)]
        super().__init__(names, image_size, train_scenes, test_scenes, batch_size, num_workers, colors)
        self.digits = digits
        self.kinds = kinds
        self.seed = seed

    def scene(self, split: Literal["train", "val"], index: int) -> KeyScene:
        """Draw a scene, with everything that is known about it."""
        scene: KeyScene = self.samples(split).draw(index)
        return scene

    def samples(self, split: Literal["train", "val"]) -> DrawnScenes:
        """Give the scenes of one part."""
        drawn_from: Literal["train", "test"] = "train" if split == "train" else "test"
        size = self.preprocessing.input_size[1:]
        draw = partial(key_scene, drawn_from, seed=self.seed, size=size, digits=self.digits, kinds=self.kinds)
        return DrawnScenes(f"keys_{drawn_from}", self.num_scenes[split], draw)
