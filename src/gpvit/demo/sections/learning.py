"""What the model learned: figures, course of the training, mistakes."""

import numpy as np
from markupsafe import Markup
from PIL import Image
from PIL.Image import Resampling

from gpvit.data.synthetic.digits import Digits, digits_split
from gpvit.demo.experiments.digits import DigitsExperiment
from gpvit.demo.page.charts import FIRST, SECOND, Line, draw, paint_confusion, paint_lines
from gpvit.demo.page.parts import Bar, Chart, Charts, Gallery, Headline, Headlines, Picture, Section

_MOST_WRONG = 10
_SHOWN = 128  # pixels
_CHART_IN = 4.3  # width, in inches of 96 pixels


def summary(experiment: DigitsExperiment) -> Section:
    """Say in a few figures what happened."""
    wrong = int((experiment.answers != experiment.labels).sum())
    images_per_second = experiment.speed.measurements[_trained_size(experiment)].images_per_second
    assert images_per_second is not None
    figures = [
        Headline(f"{experiment.accuracy:.1%}", "test accuracy", f"{wrong} of {len(experiment.labels)} digits wrong"),
        Headline(f"{experiment.run.seconds:.0f} s", "training time", f"{experiment.run.epochs} epochs, this machine"),
        Headline(f"{experiment.cost.parameters / 1e6:.2f} M", "parameters", "GPViT-L1 of the paper has 9.6 M"),
        Headline(f"{experiment.cost.macs / 1e6:.0f} M", "MACs per digit", "multiply-accumulates of one forward pass"),
        Headline(f"{images_per_second:.0f}", "digits per second", "forward pass, this machine"),
    ]
    text = [
        "The first question is the simplest: one digit in a small gray picture; which is it? A small GPViT was trained "
        f"for it, from random weights, on {len(digits_split('train')[1]):,} handwritten digits, and then read "
        f"{len(experiment.labels)} that it had not seen.",
    ]
    caption = (
        "Two limits: both sets hold digits of the same 13 writers, so a new hand would be harder; and the digits are "
        "tiny and centred, so any decent network does well. These figures show that the code learns. How good the "
        "architecture is, the paper's results on ImageNet, COCO and ADE20K show."
    )
    return Section("digits-result", "The result", text, [Headlines(figures, caption)])


def data(experiment: DigitsExperiment) -> Section:
    """Show what is learned from, as it is and as the network sees it."""
    digits = Digits(**experiment.run.data)
    digits.setup("fit")
    assert digits.train_collate is not None
    assert digits.train_set is not None
    raw, labels = digits_split("train")
    first = [int(np.flatnonzero(labels == label)[0]) for label in range(digits.num_classes)]
    varied, _ = digits.train_collate([digits.train_set[index] for index in first])
    mean, std = digits.preprocessing.mean[0], digits.preprocessing.std[0]
    seen = (varied[:, 0] * std + mean).clamp(0, 1).mul(255).round().byte().numpy()
    names = digits.class_names
    side = experiment.image_size
    pictures = [Picture(Image.fromarray(raw[i]), names[labels[i]], pixelated=True) for i in first]
    prepared = [Picture(Image.fromarray(image), name) for image, name in zip(seen, names, strict=True)]
    text = [
        "The data ship with scikit-learn: real digits, written by 13 people on paper forms of the US National "
        "Institute of Standards and Technology, and scanned. Each is 8 x 8 pixels. They are enlarged to "
        f"{side} x {side}, because a GPViT cuts a picture into tokens of 8 x 8 pixels: {side // 8} x {side // 8} "
        "tokens here. In training, each digit is turned, moved and scaled a little, anew in every epoch.",
    ]
    return Section(
        "data",
        "What it learns from",
        text,
        [
            Gallery(pictures, 10, 5, "As they are", "One training digit of each class."),
            Gallery(prepared, 10, 5, "As the network sees them", "The same digits, enlarged and varied at random."),
        ],
    )


def curves(experiment: DigitsExperiment) -> Section:
    """Show the course of the training."""
    logged = experiment.run.curves
    losses = [Line("training", logged["train/loss"], FIRST), Line("test", logged["val/loss"], SECOND)]
    accuracy = [Line("test", logged["val/top1"], SECOND)]
    shape = (_CHART_IN, 3.2)
    text = [
        Markup(
            "An epoch shows the network every training digit once. The <em>loss</em> is what training makes small: the "
            "mean of &minus;ln(probability of the right class), {:.2f} for blind guessing among {} classes. The "
            "<em>accuracy</em> is the share of test digits whose most probable class is the right one."
        ).format(np.log(experiment.model.num_classes), experiment.model.num_classes),
    ]
    charts = [
        Chart(
            draw("loss", "Loss over epochs", *shape, lambda axes: paint_lines(axes, "Loss", losses)),
            "Training loss is a mean over the epoch, of varied digits and a network that is still changing; test loss "
            "is taken at its end. In the first epochs the test loss may stand higher: batch norm's running averages, "
            "which only the test uses, follow the fast changing network with a delay.",
        ),
        Chart(
            draw(
                "accuracy",
                "Test accuracy over epochs",
                *shape,
                lambda axes: paint_lines(axes, "Test accuracy", accuracy, percent=True),
            ),
            "A dip on the way up is usual while the learning rate is high; it falls along a cosine to almost nothing, "
            "and the curve calms down. This page shows the weights after the last epoch, chosen by no test score.",
        ),
    ]
    return Section("digits-curves", "How it learned", text, [Charts(charts)])


def confusion(experiment: DigitsExperiment) -> Section:
    """Show which digits are taken for which."""
    counts = experiment.confusion
    mistakes = counts - np.diag(np.diag(counts))
    names = [str(name) for name in range(len(counts))]
    truth, answer = np.unravel_index(mistakes.argmax(), mistakes.shape)
    if mistakes.any():
        finding = (
            f"The most frequent mistake here: {truth} read as {answer}, {mistakes.max()} of {counts[truth].sum()}."
        )
    else:
        finding = "Here it made no mistake at all."
    chart = draw("confusion", f"Confusion matrix. {finding}", 5.2, 5, lambda axes: paint_confusion(axes, counts, names))
    text = [
        f"Each row holds the {counts[0].sum()} test digits of one class, each column one answer. A perfect reader has "
        f"numbers on the diagonal only; every number beside it is a mistake. {finding}"
    ]
    caption = "Right answers blue, mistakes orange; empty cells are zero."
    return Section("confusion", "What it takes for what", text, [Charts([Chart(chart, caption)])])


def examples(experiment: DigitsExperiment) -> Section:
    """Show digits that it reads right, those it is least sure of, and its mistakes."""
    top = experiment.probabilities.max(axis=1)
    right = experiment.answers == experiment.labels
    found = (np.flatnonzero(right & (experiment.labels == label)).tolist() for label in range(10))
    first = [indices[0] for indices in found if indices]
    doubtful = sorted(np.flatnonzero(right).tolist(), key=lambda index: top[index])[:5]
    wrong = sorted(np.flatnonzero(~right).tolist(), key=lambda index: -top[index])
    shown = f"the {_MOST_WRONG} that it was surest of" if len(wrong) > _MOST_WRONG else "all, the surest first"
    galleries = [
        Gallery(
            [_example(experiment, i) for i in first],
            5,
            3,
            "Read right",
            "The first of each class among the test digits.",
        ),
        Gallery(
            [_example(experiment, i) for i in doubtful],
            5,
            3,
            "Read right, with the greatest doubt",
            "The five least sure.",
        ),
        Gallery(
            [_example(experiment, i) for i in wrong[:_MOST_WRONG]],
            5,
            3,
            "Read wrong",
            f"{len(wrong)} mistakes; {shown}. Would you have read them right?",
        ),
    ]
    text = [
        "Below each digit stand the three classes that the network takes for the most probable, the true one in blue. "
        f"Such a probability is the network's own estimate. To its answers it gives {top.mean():.1%} on average, and "
        f"{right.mean():.1%} of them are right; the closer these two, the better it knows how much it knows."
    ]
    return Section("digits-examples", "Right and wrong", text, [gallery for gallery in galleries if gallery.pictures])


def _example(experiment: DigitsExperiment, index: int) -> Picture:
    truth = int(experiment.labels[index])
    best = experiment.results[index].top(3)
    tones = ["right" if each.class_index == truth else "wrong" if rank == 0 else "" for rank, each in enumerate(best)]
    bars = [Bar(each.class_name, each.probability, tone) for each, tone in zip(best, tones, strict=True)]  # type: ignore[arg-type]
    caption = f"test digit {index}: a {truth}"
    # Smooth, as the network sees it: people read a blurred digit more easily than large pixels.
    return Picture(Image.fromarray(experiment.images[index]).resize((_SHOWN,) * 2, Resampling.BICUBIC), caption, bars)


def _trained_size(experiment: DigitsExperiment) -> int:
    """Return the position of the measurement at the size that the model was trained on."""
    sizes = [measurement.case.size for measurement in experiment.speed.measurements]
    return sizes.index((experiment.image_size,) * 2)
