import pytest
import torch
from PIL import Image

import gpvit
from gpvit.data.synthetic.photographs import load_photograph
from gpvit.zoo.catalog import find, find_weights
from studies.figure_6 import FIGURE_6_MODELS, FIGURE_6_PHOTOGRAPHS, draw_figure_6
from studies.report import save_chart


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("figure")
    small = {"num_classes": 3, "backbone_kwargs": {"img_size": 64}}
    gpvit.save(gpvit.create_model("gpvit_nano", num_classes=3, in_chans=1, img_size=32), folder / "reader.safetensors")
    gpvit.save(gpvit.create_model("retinanet_gpvit_nano", **small), folder / "finder.safetensors")
    gpvit.save(gpvit.create_model("segformer_gpvit_nano", **small), folder / "painter.safetensors")
    load_photograph("cat").resize((96, 64)).save(folder / "cat.png")
    load_photograph("china").resize((40, 60)).save(folder / "a $tower.png")
    return folder


@pytest.mark.slow
def test_each_model_has_a_column_and_each_image_a_row(folder, tmp_path):
    models = [folder / f"{name}.safetensors" for name in ("reader", "finder", "painter")]
    figure = draw_figure_6(models, [folder / "cat.png", folder / "a $tower.png"], size=40)
    assert sum(bool(axes.images) for axes in figure.axes) == 2 * (1 + 3 * 4)
    headings = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert [heading.strip().split("\n") for heading in headings] == [
        ["Classification", "gpvit_nano, block 10"],
        ["Detection", "retinanet_gpvit_nano, block 10"],
        ["Segmentation", "segformer_gpvit_nano, block 10"],
    ]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles.count("grouping") == titles.count("ungrouping") == 6
    assert {"cat.png", "a $tower.png"} <= set(titles)
    figure.draw_without_rendering()
    cells = [axes.get_window_extent() for axes in figure.axes[2:]]  # after the images as they are
    assert cells[0].y0 > cells[2].y1, "heat maps are below"
    assert cells[0].x1 < cells[1].x0
    assert cells[0].width / cells[0].height == pytest.approx(96 / 64, rel=0.1), "not distorted"
    assert [path.stat().st_size > 0 for path in save_chart(figure, tmp_path, "figure_6")] == [True, True]


def test_another_block_is_drawn_when_asked_for(folder):
    heading = draw_figure_6(["gpvit_nano"], [folder / "cat.png"], 32, block=4).axes[1].get_title(loc="left")
    assert heading == "Classification\ngpvit_nano, block 4, random weights\n"
    with pytest.raises(
        ValueError, match="gpvit_nano: block 5 is no group propagation block; choose one of 1, 4, 7, 10"
    ):
        draw_figure_6(["gpvit_nano"], [folder / "cat.png"], 32, block=5)


def test_photographs_and_published_weights_are_the_default():
    titles = [axes.get_title() for axes in draw_figure_6(["gpvit_nano"], size=32).axes]
    assert [title for title in titles if title in FIGURE_6_PHOTOGRAPHS] == list(FIGURE_6_PHOTOGRAPHS)
    names = [model.partition(".")[::2] for model in FIGURE_6_MODELS]
    assert [find_weights(name, tag)[0] for name, tag in names] == ["in1k", "coco_1x", "ade20k"]
    assert [find(name).task for name, _ in names] == ["classification", "detection", "segmentation"]


def test_what_cannot_be_drawn_is_named(folder, tmp_path):
    cat = folder / "cat.png"
    with pytest.raises(ValueError, match="no model was given"):
        draw_figure_6([], [cat])
    with pytest.raises(FileNotFoundError, match=r"dog\.png: no such image"):
        draw_figure_6(["gpvit_nano"], [tmp_path / "dog.png"])
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        draw_figure_6([tmp_path / "absent.safetensors"], [cat])
    with pytest.raises(ValueError, match="segformer_resnet10t: Segmenter has no group propagation"):
        draw_figure_6(["segformer_resnet10t"], [cat], 64)
    with pytest.raises(ValueError, match="gpvit_nano: size is 8"):
        draw_figure_6(["gpvit_nano"], [cat], 8)
    Image.new("RGB", (2000, 20)).save(tmp_path / "strip.png")
    with pytest.raises(ValueError, match=r"^strip\.png: 2000 x 20 pixels are too long"):
        draw_figure_6(["gpvit_nano"], [tmp_path / "strip.png"], 32)
