"""How well the detector finds the digits of scenes."""

from dataclasses import replace

from PIL import Image
from PIL.Image import Resampling

from gpvit.data.detection.dataset import Sample as Scene
from gpvit.data.visualise import draw_boxes
from gpvit.demo.experiments.detection import DetectionExperiment
from gpvit.demo.page.charts import FIRST, SECOND, Line, draw, paint_lines
from gpvit.demo.page.parts import Chart, Charts, Gallery, Headline, Headlines, Picture, Section, Table
from gpvit.demo.sections.scenes import photograph_credits, share_bars
from gpvit.inference.results.detection import DetectionResult

_SCALE = 2  # of the scenes as drawn
_CHART_IN = 4.3


def summary(experiment: DetectionExperiment) -> Section:
    """Say in a few figures what happened."""
    run, scores = experiment.run, experiment.scores
    figures = [
        Headline(f"{scores['box_ap']:.1%}", "box AP", f"{scores['images']} new scenes"),
        Headline(f"{scores['mask_ap']:.1%}", "mask AP", "outlines in place of boxes"),
        Headline(f"{scores['box_ap50']:.1%}", "box AP, half overlap", "IoU of 0.5 is enough"),
        Headline(f"{run.seconds:.0f} s", "training time", f"{run.steps} steps, this machine"),
        Headline(f"{experiment.parameters / 1e6:.2f} M", "parameters", "with adapter, pyramid and heads"),
    ]
    text = [
        "Now the digits are to be told one by one: where is each, how far does it reach, and which is it? Two threes "
        "that overlap are one patch of threes to the segmenter; a detector must say that they are two. The small GPViT "
        "gets a ViT-Adapter, which adds finer and coarser grids to its one resolution, and Mask R-CNN, which proposes "
        "places, names what is there, draws its box and its outline.",
        "AP, average precision, is COCO's measure. A digit counts as found if a box (or outline) of the right class "
        "overlaps it enough; AP is then the mean precision over all shares of digits found, from the surest "
        "detection on, and the mean over ten demands on the overlap, from an IoU of 0.5 to one of 0.95. Missed digits, "
        "false alarms, wrong names and sloppy boxes all cost.",
    ]
    rows = [
        [kind, *(_percent(scores[f"{kind}_{figure}"]) for figure in ("ap", "ap50", "ap75", "ap_small", "ap_medium"))]
        for kind in ("box", "mask")
    ]
    table = Table(
        ["", "AP", "IoU 0.5", "IoU 0.75", "small", "medium"],
        rows,
        "Small: digits of less than 32 x 32 pixels of ink, as COCO counts them; medium: the others.",
    )
    caption = (
        f"A short training, so that the demo stays within minutes: {run.steps} steps of {run.data['batch_size']} "
        "scenes each. A detector from random weights would find next to nothing after so few, so this one's backbone "
        "starts from the segmenter's, as in practice it would start from one trained on ImageNet; adapter, pyramid and "
        "heads are new. The recipe in full starts from nothing and goes on for longer (its command stands at the end "
        "of this page)."
    )
    return Section("detection", "The result", text, [Headlines(figures, caption), table])


def curves(experiment: DetectionExperiment) -> Section:
    """Show the course of the training."""
    logged = experiment.run.curves
    losses = [Line("training", logged["train/loss"], FIRST)]
    scores = [Line("box AP", logged["val/box_ap"], FIRST), Line("mask AP", logged["val/mask_ap"], SECOND)]
    shape = (_CHART_IN, 3.2)
    charts = [
        Chart(
            draw("detection-loss", "Loss over epochs", *shape, lambda axes: paint_lines(axes, "Loss", losses)),
            "The sum of five losses: is there a digit, where roughly, which is it, where exactly, and what is its "
            f"outline? An epoch is {experiment.run.steps // experiment.run.epochs} steps here.",
        ),
        Chart(
            draw(
                "ap",
                "Average precision over epochs",
                *shape,
                lambda axes: paint_lines(axes, "AP of the test scenes", scores, percent=True),
            ),
            "Both are scored after every epoch. This page shows the weights after the last, chosen by no test score.",
        ),
    ]
    return Section("detection-curves", "How it learned", [], [Charts(charts)])


def examples(experiment: DetectionExperiment) -> Section:
    """Show test scenes with their truth beside what was found."""
    pictures = []
    for scene, result in zip(experiment.pictures, experiment.results, strict=True):
        count = len(scene.objects.labels)
        pictures += [
            Picture(_draw_truth(scene, experiment), f"truth: {_digits(count)}", photograph=True),
            Picture(
                _draw_surest(result, count), f"found: the surest {min(count, len(result.scores))}", photograph=True
            ),
        ]
    text = [
        f"The first {len(experiment.pictures)} test scenes, not selected, with photographs and digits that were not "
        "trained on; in gray, so that all colour tells a class. Of what the detector found, those are shown that it is "
        "surest of, as many as there are digits, each with its name and how probable the detector takes it to be.",
    ]
    gallery = Gallery(pictures, 4, 2, "", f"Truth left, found right. {photograph_credits('test')}")
    return Section("detection-examples", "Truth and detections", text, [gallery])


def classes(experiment: DetectionExperiment) -> Section:
    """Show which digits are found well."""
    ap = experiment.class_ap
    ordered = sorted(ap, key=lambda name: -ap[name]["box_ap"])
    worst = ordered[-1]
    text = [
        f"The worst is the {worst}, with a box AP of {ap[worst]['box_ap']:.1%} and a mask AP of "
        f"{ap[worst]['mask_ap']:.1%}. Both charts list the digits by their box AP, the worst in orange; a bar as wide "
        "as the chart would be 100 %."
    ]
    charts = [
        share_bars(f"{kind}-ap", f"{kind.capitalize()} AP", {name: ap[name][f"{kind}_ap"] for name in ordered}, worst)
        for kind in ("box", "mask")
    ]
    return Section("detection-classes", "Easy and hard digits", text, [Charts(charts)])


def _draw_surest(result: DetectionResult, count: int) -> Image.Image:
    """Draw the surest detections on the scene in gray."""
    masks = result.mask_probabilities
    surest = replace(
        result,
        boxes=result.boxes[:count],
        labels=result.labels[:count],
        scores=result.scores[:count],
        mask_probabilities=None if masks is None else masks[:count],
        source=result.image.convert("L"),
    )
    return surest.draw(_SCALE)


def _draw_truth(scene: Scene, experiment: DetectionExperiment) -> Image.Image:
    """Draw the truth as detections are drawn."""
    result = experiment.results[0]
    size = (_SCALE * scene.image.width, _SCALE * scene.image.height)
    labels = scene.objects.labels.tolist()
    assert scene.masks is not None
    return draw_boxes(
        scene.image.convert("L").convert("RGB").resize(size, Resampling.BICUBIC),
        (scene.objects.boxes * _SCALE).tolist(),
        [result.class_names[label - 1] for label in labels],
        None,
        [mask.repeat(_SCALE, 0).repeat(_SCALE, 1) for mask in scene.masks],
        [result.colors[label - 1] for label in labels],
    )


def _digits(number: int) -> str:
    return f"{number} digit{'' if number == 1 else 's'}"


def _percent(share: float | None) -> str:
    return "none there" if share is None else f"{share:.1%}"
