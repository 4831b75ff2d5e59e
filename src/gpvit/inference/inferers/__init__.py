"""How a segmenter labels an image of any size: the whole image at once, or window by window."""

from gpvit.errors import UserError
from gpvit.inference.inferers.base import Inferer
from gpvit.inference.inferers.sliding_window import SlidingWindow
from gpvit.inference.inferers.whole_image import WholeImage

__all__ = ["Inferer", "SlidingWindow", "WholeImage", "choose_inferer"]


def choose_inferer(
    window: int | None = None, overlap: float | None = None, flip: bool = False, scales: str | None = None
) -> Inferer:
    """Choose an inferer by the options of the command line: `SlidingWindow` if a window is given, else `WholeImage`.

    Args:
        window: Side of a window in pixels.
        overlap: Smallest part of a window's side that its neighbour sees as well.
        flip: Whether to average over the image and its mirror image.
        scales: Factors of the image's size to average over, separated by commas.

    Raises:
        ValueError: If a value is out of range, or options exclude each other.
    """
    if window is None:
        if overlap is not None:
            raise UserError(f"--overlap {overlap} needs windows; add --window 512, or leave it out")
        return WholeImage(_numbers("1.0" if scales is None else scales), flip)
    if scales is not None:
        raise UserError(f"--window {window} keeps the image's own size and --scales {scales} changes it; choose one")
    return SlidingWindow(window, flip=flip) if overlap is None else SlidingWindow(window, overlap, flip)


def _numbers(scales: str) -> tuple[float, ...]:
    try:
        return tuple(float(scale) for scale in scales.split(","))
    except ValueError:
        raise UserError(f"scales {scales!r}: give numbers separated by commas, such as 0.5,1.0,1.5") from None
