"""Photographs that scikit-learn and scikit-image carry: real images without a download."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from PIL import Image

from gpvit.errors import UserError
from gpvit.runtime.images import read_image

_PHOTOGRAPHS = {  # file in an installed package; credit
    "china": ("sklearn/datasets/images/china.jpg", "danielbuechele on Flickr, CC BY 2.0"),
    "flower": ("sklearn/datasets/images/flower.jpg", "vultilion on Flickr, CC BY 2.0"),
    "astronaut": ("skimage/data/astronaut.png", "NASA, public domain"),
    "camera": ("skimage/data/camera.png", "Lav Varshney, CC0"),
    "cat": ("skimage/data/chelsea.png", "Stefan van der Walt, CC0"),
    "coffee": ("skimage/data/coffee.png", "Rachel Michetti, CC0"),
    "coins": ("skimage/data/coins.png", "Brooklyn Museum, no known copyright restrictions"),
    "hubble": ("skimage/data/hubble_deep_field.jpg", "NASA, public domain"),
    "retina": ("skimage/data/retina.jpg", "Mikael Häggström, CC0"),
    "rocket": ("skimage/data/rocket.jpg", "SpaceX, public domain"),
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
    return _PHOTOGRAPHS[name][1]


def _file(name: str) -> Traversable:
    # Read as plain files: scikit-image's own loader would turn to the network for a file that is not there.
    package, _, file = _PHOTOGRAPHS[name][0].partition("/")
    return files(package) / file
