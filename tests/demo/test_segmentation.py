from pathlib import Path

import numpy as np
import pytest
from gpvit.demo.experiments.run import Run
from gpvit.demo.experiments.segmentation import SegmentationExperiment
from gpvit.demo.sections import segmentation

from gpvit.data.segmentation import DigitScenes
from gpvit.data.synthetic.photographs import photograph_credit
from gpvit.inference.results.segmentation import SegmentationResult

NUM_SCENES = 8
EIGHT, THREE, FIVE = 9, 4, 6  # labels: the background is 0


@pytest.fixture(scope="module")
def experiment():
    """Make an experiment of answers that are right, but for eights: half of them threes, a quarter fives."""
    options = {
        "image_size": 128,
        "train_scenes": 3,
        "test_scenes": NUM_SCENES,
        "digits": (2, 8),
        "seed": 0,
        "batch_size": 8,
    }
    data = DigitScenes(**options)
    pairs = list(data.samples("val"))
    random = np.random.default_rng(0)
    results = []
    for pair in pairs:
        said = pair.mask.copy()
        eights = np.flatnonzero(said == EIGHT)
        said.flat[eights] = random.choice([THREE, FIVE, EIGHT], len(eights), p=[0.5, 0.25, 0.25])
        results.append(SegmentationResult(said, data.class_names, data.colors, pair.image))
    settings = {
        "model": {"init_args": {"name": "segformer_gpvit_nano"}},
        "data": {"init_args": options},
        "trainer": {"max_epochs": 2},
    }
    curves = {"step": {1: 9, 2: 19}, "train/loss": {1: 2.0, 2: 1.0}, "val/miou": {1: 0.1, 2: 0.2}}
    run = Run(Path("demo/segmentation"), settings, {"seconds": 12.3, "seed": 0}, curves)
    return SegmentationExperiment(run, 1000, pairs, results, pairs[0], results[0])


def test_figures_are_those_of_a_naive_count(experiment):
    truth = np.stack([pair.mask for pair in experiment.pairs])
    said = np.stack([result.labels for result in experiment.results])
    present = np.unique(truth)
    iou = [np.sum((truth == c) & (said == c)) / np.sum((truth == c) | (said == c)) for c in present]
    found = [np.mean(said[truth == c] == c) for c in present]
    assert list(experiment.iou) == list(experiment.found) == [experiment.class_names[c] for c in present]
    assert list(experiment.iou.values()) == pytest.approx(iou)
    assert list(experiment.found.values()) == pytest.approx(found)
    assert experiment.miou == pytest.approx(np.mean(iou))
    assert experiment.pixel_accuracy == pytest.approx(np.mean(truth == said))
    eights = said[truth == EIGHT]
    taken = experiment.taken_for("8")
    assert taken["3"] == pytest.approx(np.mean(eights == THREE))
    assert sum(taken.values()) == pytest.approx(1)


def test_the_worst_class_is_named_with_what_it_is_taken_for(experiment):
    assert experiment.worst_class == "8"
    (text,) = segmentation.classes(experiment).text
    assert text.startswith(f"The worst class is the 8, with an IoU of {experiment.iou['8']:.1%}")
    three, five = (f"{experiment.taken_for('8')[name]:.0%} for {name}" for name in ("3", "5"))
    assert f"labelled right, taken are {three} and {five}." in text


def test_a_class_without_a_pixel_is_left_out(experiment):
    blind = SegmentationExperiment(
        experiment.run,
        1000,
        [pair._replace(mask=np.where(pair.mask == EIGHT, 0, pair.mask)) for pair in experiment.pairs],
        experiment.results,
        experiment.large,
        experiment.large_result,
    )
    assert "8" not in blind.iou
    assert segmentation.classes(blind).text[0].startswith(f"The worst class is the {blind.worst_class}")
    assert "8" not in blind.to_dict()["test"]["iou"]


def test_scenes_stand_beside_truth_and_answer(experiment):
    _, gallery = segmentation.examples(experiment).parts
    scenes, truths, answers = (gallery.pictures[start::3] for start in range(3))
    assert {picture.caption for picture in scenes} == {"scene"}
    assert {picture.caption for picture in truths} == {"truth"}
    for pair, truth, answer in zip(experiment.pairs, truths, answers, strict=False):
        same = np.array_equal(np.asarray(truth.image), np.asarray(answer.image))
        assert same == (EIGHT not in pair.mask)
        assert same == (answer.caption == "answer, 100% right")


def test_the_colours_of_the_key_are_nearly_those_of_the_pictures(experiment):
    key, gallery = segmentation.examples(experiment).parts
    colours = dict(key.entries)
    assert list(colours) == list(map(str, range(10)))
    shown = np.asarray(gallery.pictures[1].image.resize((128, 128)), int)
    mask = experiment.pairs[0].mask
    for label in np.unique(mask)[1:]:
        difference = np.abs(shown[mask == label] - colours[str(label - 1)]).mean()
        assert difference < 40


def test_makers_of_photographs_are_named(experiment):
    for section, name in ((segmentation.data, "china"), (segmentation.examples, "coffee"), (segmentation.large, "cat")):
        assert photograph_credit(name) in section(experiment).parts[-1].caption
