"""Photographs that scikit-learn and scikit-image carry: real images without a download."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from PIL import Image

from gpvit.data.images import read_image
from gpvit.errors import UserError


class _Photograph(NamedTuple):
    package: str
    file: str
    credit: str


_PHOTOGRAPHS = {
    "china": _Photograph("sklearn", "datasets/images/china.jpg", "danielbuechele on Flickr, CC BY 2.0"),
    "flower": _Photograph("sklearn", "datasets/images/flower.jpg", "vultilion on Flickr, CC BY 2.0"),
    "astronaut": _Photograph("skimage", "data/astronaut.png", "NASA, public domain"),
    "camera": _Photograph("skimage", "data/camera.png", "Lav Varshney, CC0"),
    "cat": _Photograph("skimage", "data/chelsea.png", "Stefan van der Walt, CC0"),
    "coffee": _Photograph("skimage", "data/coffee.png", "Rachel Michetti, CC0"),
    "coins": _Photograph("skimage", "data/coins.png", "Brooklyn Museum, no known copyright restrictions"),
    "hubble": _Photograph("skimage", "data/hubble_deep_field.jpg", "NASA, public domain"),
    "retina": _Photograph("skimage", "data/retina.jpg", "Mikael Häggström, CC0"),
    "rocket": _Photograph("skimage", "data/rocket.jpg", "SpaceX, public domain"),
}


def photograph_names() -> tuple[str, ...]:
    """Name the photographs that the installed packages hold, those of scikit-learn first."""
    return tuple(name for name in _PHOTOGRAPHS if _file(name).is_file())


def load_photograph(name: str) -> Image.Image:
    """Load one of `photograph_names()` as an RGB image.

    Raises:
        ValueError: There is no photograph of this name; the message lists those there are.
    """
    if name not in photograph_names():
        raise UserError(f"no photograph {name!r}; choose one of {', '.join(photograph_names())}")
    with _file(name).open("rb") as file:
        return read_image(Image.open(file))


def photograph_credit(name: str) -> str:
    """Say who made a photograph and under which licence, to be printed beside it."""
    return _PHOTOGRAPHS[name].credit


def _file(name: str) -> Traversable:
    photograph = _PHOTOGRAPHS[name]
    # Read as plain files: scikit-image's own loader would turn to the network for a file that is not there.
    return files(photograph.package).joinpath(photograph.file)
