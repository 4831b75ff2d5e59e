"""The verb `gpvit figure`."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from gpvit.data.images import list_images
from studies.charts import save_chart
from studies.figures.group_pictures import FIGURE_6_MODELS, draw_figure_6
from studies.figures.macs import draw_macs, macs_table


def figure(
    number: int,
    models: list[str],
    images: str | None = None,
    size: int | None = None,
    block: int | None = None,
    out: str = "results",
    quick: bool = False,
) -> None:
    """Draw the paper's figure 5, the cost of a block, or figure 6, what the groups of several models look at.

    Figure 5 is counted, and so the same on every machine; its numbers are printed and written beside the picture.

    Args:
        number: 5 or 6.
        models: Of figure 6, classifiers, segmenters or detectors: names, as gpvit_l1.in1k, or paths of checkpoints; one
            of each kind with the published weights if left out.
        images: Of figure 6, files, folders and patterns, separated by commas; photographs of our own if left out.
        size: Of figure 6, the shorter side in pixels that images are resized to.
        block: Of figure 6, the index of the group propagation block; the last one if left out.
        out: Folder for figure_NUMBER.png and .svg, and of figure 5 also .md and .csv.
        quick: The smallest blocks, images and model, for a first look.
    """
    if number == 5:
        given = {"models": models, "--images": images, "--size": size, "--block": block}
        if refused := [name for name, value in given.items() if value not in (None, [])]:
            raise ValueError(f"leave out {', '.join(refused)}: figure 5 counts blocks, and sees no images")
        table = replace(macs_table((64, 128), (216,), 64), command="gpvit figure 5 --quick") if quick else macs_table()
        Console().print(table)
        paths = [*table.write(out), *draw_macs(table, out)]
    elif number == 6:
        chosen = models or (["gpvit_nano"] if quick else FIGURE_6_MODELS)
        files: list[Path] = list_images(images.split(",")) if images else []
        drawing = draw_figure_6(chosen, files, 64 if quick and size is None else size, block)
        paths = save_chart(drawing, out, "figure_6")
    else:
        raise ValueError(f"no figure {number}; choose 5 or 6")
    for path in paths:
        print(path)
