import numpy as np
import pytest

from studies.ablations import ablations
from studies.experiments.comparisons import EXPERIMENTS, balanced_accuracy, decisions
from studies.experiments.key_scenes import key_scene

SCENE = key_scene("test", 0)


def test_the_truth_decides_every_digit_rightly():
    targets, labelled, distances = decisions(SCENE, SCENE.labels)
    assert np.array_equal(targets, labelled)
    assert targets.any()
    assert not targets.all()
    assert np.array_equal(distances, SCENE.distances)
    assert balanced_accuracy(targets, labelled) == 1


@pytest.mark.parametrize("everything", [0, 7])
def test_to_label_all_or_nothing_is_chance(everything):
    targets, labelled, _ = decisions(SCENE, np.full_like(SCENE.labels, everything))
    assert labelled.all() if everything else not labelled.any()
    assert balanced_accuracy(targets, labelled) == 0.5


def test_half_of_the_ink_is_enough():
    mask = SCENE.masks[0]
    ink = np.argwhere(mask)
    for part, expected in ((len(ink) // 2 + 1, True), (len(ink) // 2 - 1, False)):
        labels = np.zeros_like(SCENE.labels)
        labels[tuple(ink[:part].T)] = 4
        assert decisions(SCENE, labels)[1][0] == expected


def test_digits_like_the_key_and_others_count_alike_however_many_there_are():
    targets, labelled = np.array([True, False, False, False]), np.array([True, True, False, True])
    assert balanced_accuracy(targets, labelled) == pytest.approx((1 + 1 / 3) / 2)
    assert balanced_accuracy(np.array([True, True]), np.array([True, False])) is None


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_backbones_and_scores(name):
    experiment = EXPERIMENTS[name]
    assert experiment.name == name
    assert len(ablations(name, "gpvit_nano")) > 1
    assert next(iter(experiment.headers)) in ("miou", "accuracy")
