"""A small task of one's own: a folder of letters, drawn with the fonts that matplotlib carries."""

from pathlib import Path
from string import ascii_uppercase

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

_FONTS = {
    "train": ("DejaVuSans", "DejaVuSansMono-Bold", "DejaVuSerif-Italic", "STIXGeneral", "cmb10", "cmtt10"),
    "val": ("DejaVuSans-Bold", "DejaVuSansMono-Oblique", "DejaVuSerif", "STIXGeneralBolIta", "cmr10", "cmss10"),
}
_SIDE = 64  # pixels


def write_letters(folder: Path, train: int, val: int, seed: int = 0) -> None:
    """Write images of A to Z in the layout of `ImageFolder`, `train` and `val` of each; their fonts differ.

    Args:
        folder: Gets train/LETTER/NUMBER.png and val/LETTER/NUMBER.png, light ink on black.
        train: Images of each letter to train on.
        val: Images of each letter to test with.
        seed: Of sizes, places, angles and brightness.
    """
    random = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for letter in ascii_uppercase:
            (folder / split / letter).mkdir(parents=True)
            for number in range(count):
                font = _FONTS[split][number % len(_FONTS[split])]
                _letter(letter, font, random).save(folder / split / letter / f"{number}.png")


def _letter(letter: str, font: str, random: np.random.Generator) -> Image.Image:
    """Draw one letter, turned, scaled and moved a little."""
    file = Path(get_data_path(), "fonts", "ttf", f"{font}.ttf")
    image = Image.new("L", (_SIDE, _SIDE))
    place = (_SIDE / 2 + random.uniform(-6, 6), _SIDE / 2 + random.uniform(-6, 6))
    kind = ImageFont.truetype(str(file), round(random.uniform(34, 54)))
    ImageDraw.Draw(image).text(place, letter, int(random.integers(120, 256)), kind, anchor="mm")
    return image.rotate(random.uniform(-20, 20), Image.Resampling.BICUBIC)
