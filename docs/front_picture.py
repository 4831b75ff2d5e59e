"""Draw the pictures at the top of the README and of the page on groups: `python docs/front_picture.py SEGMENTER`."""

import sys
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from gpvit import Predictor, create_model
from gpvit.data.synthetic.scenes import digit_scene
from gpvit.inference.groups import draw_groups


def draw(model: str, out: Path, index: int = 0, height: int = 160, width: int = 224) -> None:
    """Draw a scene of real digits, what a segmenter sees in it, and where two of its groups look."""
    scene = Image.fromarray(digit_scene("test", index, size=(height, width), digits=(7, 9), digit_size=(38, 70)).image)
    network = create_model(model).eval()
    groups = draw_groups(network, scene, size=height, title="A scene of digits")
    panels = [("An image", scene), ("What the model sees", Predictor(network)(scene).overlay(0.65))]
    block = groups.blocks[-1]
    panels += [(f"Where group {group} looks", groups.soft(block, group)) for group in block.most_distinct(2)]
    figure = Figure((3.0 * len(panels), 2.45), dpi=130, layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.imshow(picture.resize((3 * width, 3 * height), Image.Resampling.BICUBIC))
        axes.set_title(title, fontsize=13)
        axes.set_axis_off()
    figure.savefig(out / "front.png")
    groups.save(out / "groups.png", num_soft=4)
    for name in ("front.png", "groups.png"):  # 256 colours are enough, and a third of the bytes
        Image.open(out / name).convert("RGB").quantize(256).save(out / name, optimize=True)


if __name__ == "__main__":
    draw(sys.argv[1], Path(__file__).with_name("images"))
