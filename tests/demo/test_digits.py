from pathlib import Path

import numpy as np
import pytest
import torch
from gpvit.demo.experiments.digits import DigitsExperiment
from gpvit.demo.experiments.run import Run
from gpvit.demo.sections import cost, groups, learning
from gpvit.profile.measurement import Measurement

import gpvit
from gpvit.data import digits_split
from gpvit.devices import describe_machine
from gpvit.inference.groups import BlockGroups
from gpvit.inference.results.classification import ClassificationResult
from gpvit.profile.benchmark import Report
from gpvit.profile.cost import profile_model
from gpvit.profile.workload import Case

NUM_DIGITS = 60
CLASSES = tuple(map(str, range(10)))


def experiment_with(answers):
    """Make an experiment of an untrained model that is said to have given these answers, the surest first."""
    torch.manual_seed(0)
    model = gpvit.create_model("gpvit_nano", num_classes=10, in_chans=1, img_size=64).eval()
    images, labels = (part[:NUM_DIGITS] for part in digits_split("test"))
    results = []
    for rank, (image, answer) in enumerate(zip(images, answers, strict=True)):
        logits = torch.zeros(10)
        logits[answer] = 8 - 0.1 * rank
        results.append(ClassificationResult(logits, CLASSES, image))
    settings = {
        "model": {"init_args": {"name": "gpvit_nano"}},
        "data": {"init_args": {"image_size": 64}},
        "trainer": {"max_epochs": 2},
    }
    return DigitsExperiment(
        run=Run(Path("demo/run"), settings, {"seconds": 12.3, "seed": 0}, {}),
        model=model,
        images=images,
        labels=labels,
        results=results,
        cost=profile_model(model, (64, 64), 1),
        speed=Report(describe_machine(), 1, 0, (Measurement(Case("gpvit_nano", (64, 64), 4), (0.02,), None),)),
    )


@pytest.fixture(scope="module")
def labels():
    return digits_split("test")[1][:NUM_DIGITS]


@pytest.fixture(scope="module")
def flawed(labels):
    answers = labels.copy()
    answers[[3, 7, 11]] = (labels[[3, 7, 11]] + 1) % 10
    return experiment_with(answers)


def test_figures_follow_from_the_answers(flawed, labels):
    assert flawed.accuracy == pytest.approx(1 - 3 / NUM_DIGITS)
    assert flawed.confusion.sum() == NUM_DIGITS
    assert np.trace(flawed.confusion) == NUM_DIGITS - 3
    assert flawed.confusion[labels[3], (labels[3] + 1) % 10] >= 1
    assert flawed.to_dict()["test"] == {"accuracy": 0.95, "images": NUM_DIGITS, "wrong": 3}


def test_mistakes_are_shown_the_surest_first(flawed):
    right, doubtful, wrong = learning.examples(flawed).parts
    assert [picture.caption.split(":")[0] for picture in wrong.pictures] == [
        "test digit 3",
        "test digit 7",
        "test digit 11",
    ]
    for picture in wrong.pictures:
        assert picture.bars[0].tone == "wrong"
    for picture in [*right.pictures, *doubtful.pictures]:
        assert picture.bars[0].tone == "right"
        assert picture.bars[0].label == picture.caption[-1]
    assert len(right.pictures) == 10
    shares = [picture.bars[0].share for picture in doubtful.pictures]
    assert shares == sorted(shares)


def test_a_faultless_and_a_hopeless_model_have_a_report_too(labels):
    faultless = experiment_with(labels)
    assert "no mistake" in learning.confusion(faultless).text[0]
    assert [gallery.title for gallery in learning.examples(faultless).parts] == [
        "Read right",
        "Read right, with the greatest doubt",
    ]
    hopeless = experiment_with((labels + 1) % 10)
    (wrong,) = learning.examples(hopeless).parts
    assert len(wrong.pictures) == 10
    assert f"{NUM_DIGITS} mistakes" in wrong.caption


def test_costs_are_given_by_kind_of_block_and_add_up(flawed):
    table = cost.parts(flawed).parts[1]
    kinds = {row[0]: [float(cell.replace(",", "")) for cell in row[1:]] for row in table.rows}
    total = kinds.pop("all")
    assert kinds["GP blocks"][0] == 4
    assert kinds["local blocks"][0] == 8
    assert np.sum(list(kinds.values()), axis=0) == pytest.approx(total, abs=0.02)
    assert total[1] == sum(parameter.numel() for parameter in flawed.model.parameters())


def test_overlap_of_groups():
    same = np.ones((3, 2, 2))
    apart = np.zeros((2, 2, 2))
    apart[0, 0], apart[1, 1] = 2, 2
    half = np.zeros((2, 2, 2))
    half[0, 0, :], half[1, :, 0] = 2, 2
    overlaps = [groups.mean_overlap(BlockGroups(1, strength, strength)) for strength in (same, apart, half)]
    assert overlaps == [1, 0, 0.5]


def test_photographs_carry_their_credits(flawed):
    section = groups.photographs(flawed)
    assert len(section.parts) == 4
    for gallery in section.parts:
        assert len(gallery.pictures) == 5
        assert "Photograph: " in gallery.caption
        assert len({picture.image.size[0] / picture.image.size[1] for picture in gallery.pictures}) == 1
