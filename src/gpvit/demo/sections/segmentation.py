"""How well the segmenter labels scenes, pixel by pixel."""

from PIL import Image

from gpvit.data.segmentation import DigitScenes
from gpvit.data.segmentation import Sample as Pair
from gpvit.demo.experiments.segmentation import SegmentationExperiment
from gpvit.demo.page.charts import FIRST, SECOND, Line, draw, paint_lines
from gpvit.demo.page.parts import Chart, Charts, Gallery, Headline, Headlines, Key, Section
from gpvit.demo.sections.scenes import photograph_credits, scene_picture, share_bars
from gpvit.inference.results.segmentation import SegmentationResult

_TRAINING_SCENES = 3
_TEST_SCENES = 6
_LEAST_MISTAKEN = 0.01  # of the pixels of a class, to be worth a word
_OPACITY = 0.8  # of the classes' colours: near those of the key, whatever is beneath
_CHART_IN = 4.3


def summary(experiment: SegmentationExperiment) -> Section:
    """Say in a few figures what happened."""
    run = experiment.run
    worst = experiment.worst_class
    figures = [
        Headline(f"{experiment.miou:.1%}", "mean IoU", f"11 classes, {len(experiment.pairs)} new scenes"),
        Headline(f"{experiment.iou[worst]:.1%}", "IoU of the worst class", f"the {worst}"),
        Headline(f"{experiment.pixel_accuracy:.1%}", "pixels right", "most are background: an easy figure"),
        Headline(f"{run.seconds:.0f} s", "training time", f"{run.steps} steps, this machine"),
        Headline(f"{experiment.parameters / 1e6:.2f} M", "parameters", "backbone and decoder"),
    ]
    text = [
        "The question is no longer “which digit is this?” but, for each pixel of a picture, “to which digit does "
        "it belong, if to any?”. The same small GPViT, again from random weights, now carries a SegFormer decoder: it "
        "takes the features of four depths of the backbone, all at an eighth of the picture's resolution, and makes "
        "of them the scores of 11 classes for each pixel.",
        "IoU, intersection over union, is the usual measure: of all pixels that are a 3 or were called a 3, the share "
        "that is both. Mean IoU averages it over the classes, so the large background counts no more than a digit.",
    ]
    caption = (
        f"A short training, so that the demo stays within minutes: {run.steps} steps of {run.data['batch_size']} "
        "scenes each. It shows that the network learns, not how far it gets; the recipe in full goes on for longer "
        "(its command stands at the end of this page)."
    )
    return Section("segmentation", "The result", text, [Headlines(figures, caption)])


def data(experiment: SegmentationExperiment) -> Section:
    """Show training scenes with their truth."""
    scenes = DigitScenes(**experiment.run.data).samples("train")
    pictures = []
    for index in range(_TRAINING_SCENES):
        pair = scenes[index]
        pictures += [scene_picture(pair.image, "scene"), scene_picture(_overlay(experiment, pair), "truth")]
    text = [
        "Scenes are put together while the network trains: handwritten digits of random size (10 to 60 pixels), "
        "angle, colour and place, one over another, on parts of photographs. Both are real, only the composition is "
        "ours, so the truth is known to the pixel. Test scenes use other digits and other photographs than the "
        "training scenes, so neither can be known by heart.",
    ]
    caption = (
        "Training scenes beside their truth: a colour for each digit, dark where there is none. "
        f"{photograph_credits('train')}"
    )
    return Section("scenes", "What it learns from", text, [_key(experiment), Gallery(pictures, 6, 2, "", caption)])


def curves(experiment: SegmentationExperiment) -> Section:
    """Show the course of the training."""
    logged = experiment.run.curves
    losses = [Line("training", logged["train/loss"], FIRST)]
    scores = [Line("mean IoU", logged["val/miou"], SECOND)]
    shape = (_CHART_IN, 3.2)
    charts = [
        Chart(
            draw("segmentation-loss", "Loss over epochs", *shape, lambda axes: paint_lines(axes, "Loss", losses)),
            "Cross-entropy, a mean over all pixels of the training scenes; an epoch is "
            f"{experiment.run.steps // experiment.run.epochs} steps here. The first fall is quick: most pixels are "
            "background, and calling everything background is easily learned.",
        ),
        Chart(
            draw(
                "miou",
                "Mean IoU over epochs",
                *shape,
                lambda axes: paint_lines(axes, "Mean IoU of the test scenes", scores, percent=True),
            ),
            "Then the digits follow: first that there is ink, then which digit it is. The learning rate falls to "
            "nothing in the last epoch. This page shows the weights after it, chosen by no test score.",
        ),
    ]
    return Section("segmentation-curves", "How it learned", [], [Charts(charts)])


def examples(experiment: SegmentationExperiment) -> Section:
    """Show test scenes beside their truth and the answer."""
    pictures = []
    for pair, result in list(zip(experiment.pairs, experiment.results, strict=True))[:_TEST_SCENES]:
        pictures += [
            scene_picture(pair.image, "scene"),
            scene_picture(_overlay(experiment, pair), "truth"),
            scene_picture(result.overlay(_OPACITY), f"answer, {(result.labels == pair.mask).mean():.0%} right"),
        ]
    text = [
        f"The first {_TEST_SCENES} test scenes, not selected, with photographs and digits that were not trained on. "
        "Look for three kinds of mistakes: ink that was not found, a digit in the wrong colour, and one digit in "
        "several colours, for nobody told the network that strokes belong together.",
    ]
    caption = (
        "From left to right: scene, truth, and answer with the share of its pixels that are right. "
        f"{photograph_credits('test')}"
    )
    return Section(
        "segmentation-examples", "Truth and answer", text, [_key(experiment), Gallery(pictures, 6, 3, "", caption)]
    )


def classes(experiment: SegmentationExperiment) -> Section:
    """Show which classes are labelled well, and what the worst is taken for."""
    ordered = sorted(experiment.iou, key=lambda name: -experiment.iou[name])
    text = [
        f"{_finding(experiment)} Classes are in the order of their IoU, the worst in orange; a bar as wide as the "
        "chart would be 100 %. Where more pixels of a class are found than its IoU says, it also claims pixels of "
        "others."
    ]
    worst = experiment.worst_class
    charts = [
        share_bars("iou", "IoU", {name: experiment.iou[name] for name in ordered}, worst),
        share_bars(
            "found", "Share of its pixels that is found", {name: experiment.found[name] for name in ordered}, worst
        ),
    ]
    return Section("segmentation-classes", "Easy and hard classes", text, [Charts(charts)])


def large(experiment: SegmentationExperiment) -> Section:
    """Show a picture larger than any of the training, labelled window by window."""
    pair, result = experiment.large, experiment.large_result
    side = experiment.run.data["image_size"]
    pictures = [
        scene_picture(pair.image, "scene"),
        scene_picture(_overlay(experiment, pair), "truth"),
        scene_picture(result.overlay(_OPACITY), f"answer, mean IoU {experiment.large_miou:.0%}"),
    ]
    width, height = pair.image.size
    text = [
        f"The network was trained on {side} x {side} pixels. Larger pictures are labelled by windows of that size "
        "that overlap by a third and are blended, so that no seam shows; little more than a row of windows is ever "
        f"in memory. Here one of {width} x {height}, labelled as one of 4,000 x 4,000 would be.",
    ]
    gallery = Gallery(pictures, 3, 1, "", photograph_credits("test"))
    return Section("segmentation-large", "A larger picture", text, [gallery])


def _finding(experiment: SegmentationExperiment) -> str:
    """Say what the pixels of the worst class are taken for."""
    worst = experiment.worst_class
    shares = experiment.taken_for(worst)
    right = shares.pop(worst)
    mistakes = sorted(shares, key=lambda name: -shares[name])[:2]
    taken = " and ".join(f"{shares[name]:.0%} for {name}" for name in mistakes if shares[name] >= _LEAST_MISTAKEN)
    return (
        f"The worst class is the {worst}, with an IoU of {experiment.iou[worst]:.1%}: {right:.0%} of its pixels are "
        f"labelled right{f', taken are {taken}' if taken else ''}."
    )


def _key(experiment: SegmentationExperiment) -> Key:
    digits = list(zip(experiment.class_names, experiment.results[0].colors, strict=True))[1:]
    return Key(digits)


def _overlay(experiment: SegmentationExperiment, pair: Pair) -> Image.Image:
    """Draw the truth as answers are drawn."""
    return SegmentationResult(pair.mask, experiment.class_names, experiment.results[0].colors, pair.image).overlay(
        _OPACITY
    )
