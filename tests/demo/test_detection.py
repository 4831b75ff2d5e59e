from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gpvit.demo.experiments.detection import DetectionExperiment
from gpvit.demo.experiments.run import Run
from gpvit.demo.sections import detection

from gpvit.data.detection import DigitScenes
from gpvit.inference.results.detection import DetectionResult

NUM_SCENES = 4


@pytest.fixture(scope="module")
def experiment():
    """Make an experiment that found the digits of every scene."""
    options = {"train_scenes": 3, "test_scenes": NUM_SCENES, "seed": 0, "batch_size": 8}
    data = DigitScenes(**options)
    scenes = data.samples("val")
    pictures = [scenes[index] for index in range(NUM_SCENES)]
    results = []
    for picture in pictures:
        labels = torch.from_numpy(picture.objects.labels)
        results.append(
            DetectionResult(
                boxes=torch.from_numpy(picture.objects.boxes),
                labels=labels,
                scores=torch.linspace(0.9, 0.5, len(labels)),
                categories=data.categories,
                colors=data.colors,
                size=(128, 128),
                source=picture.image,
                mask_probabilities=torch.ones(len(labels), 1, 28, 28),
            )
        )
    settings = {
        "model": {"init_args": {"name": "mask_rcnn_gpvit_nano"}},
        "data": {"init_args": options},
        "trainer": {"max_epochs": 2},
    }
    curves = {
        "step": {1: 9, 2: 19},
        "train/loss": {1: 2.0, 2: 1.0},
        "val/box_ap": {1: 0.1, 2: 0.2},
        "val/mask_ap": {2: 0.2},
    }
    figures = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    scores = {f"{kind}_{figure}": 0.25 for kind in ("box", "mask") for figure in figures}
    classes = {str(digit): {"box_ap": digit / 10, "mask_ap": 0.9 - digit / 10} for digit in range(9)}
    classes["9"] = {"box_ap": None, "mask_ap": None}
    return DetectionExperiment(
        run=Run(Path("demo/detection"), settings, {"seconds": 12.3, "seed": 0}, curves),
        parameters=1000,
        scores={**scores, "mask_ap_large": None, "images": NUM_SCENES, "classes": classes},
        pictures=pictures,
        results=results,
    )


def test_scenes_show_what_is_there_beside_as_many_detections(experiment):
    (gallery,) = detection.examples(experiment).parts
    truths, found = gallery.pictures[::2], gallery.pictures[1::2]
    for scene, truth, answer in zip(experiment.pictures, truths, found, strict=True):
        number = len(scene.objects.labels)
        assert truth.caption == f"truth: {number} digits"
        assert answer.caption == f"found: the surest {number}"
        assert truth.image.size == answer.image.size


def test_only_the_surest_are_drawn(experiment):
    (gallery,) = detection.examples(experiment).parts
    doubled = [
        replace(
            result,
            boxes=result.boxes.repeat(2, 1) - torch.tensor([[0, 0, 9, 9]]) * (torch.arange(2 * n)[:, None] >= n),
            labels=result.labels.repeat(2),
            scores=torch.cat([result.scores, result.scores / 2]),
            mask_probabilities=result.mask_probabilities.repeat(2, 1, 1, 1),
        )
        for result in experiment.results
        if (n := len(result.scores))
    ]
    (same,) = detection.examples(replace(experiment, results=doubled)).parts
    for expected, picture in zip(gallery.pictures, same.pictures, strict=True):
        assert np.array_equal(np.asarray(expected.image), np.asarray(picture.image))


def test_all_colour_in_a_drawing_tells_a_class(experiment):
    (gallery,) = detection.examples(experiment).parts
    for scene, truth in zip(experiment.pictures, gallery.pictures[::2], strict=True):
        pixels = np.asarray(truth.image, int)
        coloured = pixels.max(-1) != pixels.min(-1)
        inside = np.zeros(coloured.shape, bool)
        scale = coloured.shape[0] // scene.image.height
        for left, top, right, bottom in (scene.objects.boxes * scale).astype(int):
            inside[max(top - 20, 0) : bottom, left : right + 20] = True  # with the label above
        assert coloured[inside].mean() > 0.1
        assert not coloured[~inside].any()


def test_the_worst_class_is_named_and_an_absent_one_left_out(experiment):
    section = detection.classes(experiment)
    assert section.text[0].startswith("The worst is the 0, with a box AP of 0.0% and a mask AP of 90.0%.")
    box, mask = section.parts[0].charts
    assert "80.0%" in box.svg
    assert "90.0%" in mask.svg
    assert "9" not in experiment.class_ap


def test_every_section_is_written_also_where_a_size_is_absent(experiment):
    experiment.scores["box_ap_medium"] = None
    table = detection.summary(experiment).parts[1]
    assert [row[0] for row in table.rows] == ["box", "mask"]
    assert table.rows[0][-1] == "none there"
    assert table.rows[1][1:] == ["25.0%"] * 5
    assert len(detection.curves(experiment).parts[0].charts) == 2
