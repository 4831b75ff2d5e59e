"""What the pages about scenes with digits share."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from PIL import Image
from PIL.Image import Resampling

from gpvit.data.synthetic.photographs import photograph_credit
from gpvit.data.synthetic.render import PHOTOGRAPHS
from gpvit.demo.page.charts import FIRST, SECOND, Bars, draw, paint_bars
from gpvit.demo.page.parts import Chart, Picture

_CHART_IN = 4.3  # width, in inches of 96 pixels
_SMALLEST_SIDE = 256  # pixels of a picture on the page


def scene_picture(image: Image.Image, caption: str) -> Picture:
    """Show a scene, enlarged smoothly if it is small."""
    factor = max(1, round(_SMALLEST_SIDE / min(image.size)))
    enlarged = image.resize((factor * image.width, factor * image.height), Resampling.BICUBIC)
    return Picture(enlarged, caption, photograph=True)


def share_bars(name: str, title: str, shares: Mapping[str, float], worst: str) -> Chart:
    """Draw a share of each class as bars, in the order given.

    Args:
        name: Of the chart, unique on the page.
        title: What the shares are.
        shares: By class.
        worst: The class to be drawn in another colour.
    """
    bars = Bars(
        list(shares),
        list(shares.values()),
        [SECOND if each == worst else FIRST for each in shares],
        [f"{share:.1%}" for share in shares.values()],
    )
    paint = partial(paint_bars, title=title, bars=bars, longest=1)
    return Chart(draw(name, f"{title}, by class", _CHART_IN, 1 + 0.3 * len(shares), paint), "")


def photograph_credits(split: Literal["train", "test"]) -> str:
    """Name the makers of the photographs beneath the scenes."""
    credits = "; ".join(dict.fromkeys(photograph_credit(name) for name in PHOTOGRAPHS[split]))
    return f"Photographs: {credits}; here cut, scaled and written on."
