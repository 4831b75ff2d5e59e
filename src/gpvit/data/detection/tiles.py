"""Large annotated images, cut into tiles to train on."""

from typing import Any

import numpy as np

from gpvit.data.detection.annotations import Objects
from gpvit.data.detection.module import Sample, Samples
from gpvit.data.windows import window_starts
from gpvit.errors import UserError

LEAST_PART = 0.5
"""Of an object's box, that must lie inside a tile for it to be one of the tile's objects; it is cut at the border."""

_KEPT_IMAGES = 4  # decoded, in each process: tiles of one image often follow each other


class Tiles(Samples):
    """The tiles of samples that hold an object, each with the objects of which half and more is inside.

    Args:
        samples: Images with their objects.
        side: Side of a tile, in pixels; an image that is smaller is one tile of its own size there.
        overlap: Least part of a tile's side that its neighbour shows as well, in [0, 1).

    Raises:
        UserError: A number is out of its range, or no tile holds an object.
    """

    def __init__(self, samples: Samples, side: int, overlap: float = 0.25) -> None:
        if side < 1 or not 0 <= overlap < 1:
            raise UserError(
                f"tile {side} and tile_overlap {overlap}: give 1 pixel or more, and a part from 0 to below 1"
            )
        self.samples = samples
        self._kept: dict[int, Sample] = {}
        places = [
            (index, left, top, min(left + side, width), min(top + side, height))
            for index, (height, width) in enumerate(samples.sizes)
            for top in window_starts(height, side, overlap)
            for left in window_starts(width, side, overlap)
        ]
        self._places = [place for place in places if len(self._inside(place)[1])]
        if not self._places:
            raise UserError(f"no tile of {side} pixels shows {LEAST_PART:.0%} of an object; give a larger tile")
        corners = np.array(self._places)
        self.sizes = corners[:, [4, 3]] - corners[:, [2, 1]]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # one tile at a time, no slices
        number, left, top, right, bottom = place = self._places[index]
        sample, (objects, chosen) = self._image(number), self._inside(place)
        masks = None if sample.masks is None else sample.masks[chosen, top:bottom, left:right]
        return Sample(sample.id, self.name(index), sample.image.crop((left, top, right, bottom)), objects, masks)

    def name(self, index: int) -> str:
        """Say what messages call a tile: its image and where it begins there."""
        number, left, top, *_ = self._places[index]
        return f"{self.samples.name(number)} at {left}, {top}"

    def objects(self, index: int) -> Objects:
        """Give the objects of a tile."""
        return self._inside(self._places[index])[0]

    def _inside(self, place: tuple[int, int, int, int, int]) -> tuple[Objects, np.ndarray]:
        """Cut the objects of an image to a tile, and say which are left; areas that were given are no longer theirs."""
        number, *corners = place
        objects = self.samples.objects(number)
        tile = np.array(corners, np.float32)
        boxes = np.clip(objects.boxes - np.tile(tile[:2], 2), 0, np.tile(tile[2:] - tile[:2], 2))
        sides, whole = boxes[:, 2:] - boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]
        chosen = np.flatnonzero(sides.prod(1) >= np.maximum(LEAST_PART * whole.prod(1), 1e-6))
        cut = {"boxes": boxes[chosen], "areas": np.full(len(chosen), np.nan, np.float32), "segmentations": ()}
        return objects._replace(labels=objects.labels[chosen], crowds=objects.crowds[chosen], **cut), chosen

    def _image(self, number: int) -> Sample:
        if number not in self._kept:
            if len(self._kept) == _KEPT_IMAGES:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = self.samples[number]
        return self._kept[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}
