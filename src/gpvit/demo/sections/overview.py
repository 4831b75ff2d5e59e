"""All three trainings at a glance."""

from gpvit.demo.page.parts import Headline, Headlines, Section
from gpvit.demo.results import DemoResults


def overview(results: DemoResults) -> Section:
    """Say what was done, and how well it went, in a few figures."""
    digits, segmentation, detection = results.digits, results.segmentation, results.detection
    seconds = sum(run.seconds for run in results.runs)
    figures = [
        Headline(f"{digits.accuracy:.1%}", "digits read right", f"of {len(digits.labels)} new ones"),
        Headline(f"{segmentation.miou:.1%}", "mean IoU", "pixels of scenes, labelled"),
        Headline(f"{detection.scores['box_ap']:.1%}", "box AP", "digits in scenes, found"),
        Headline(f"{detection.scores['mask_ap']:.1%}", "mask AP", "the same, with their outlines"),
        Headline(f"{seconds / 60:.1f} min", "training, all three", "on this machine"),
    ]
    text = [
        "GPViT is a vision transformer that keeps its picture at high resolution from the first layer to the last, "
        "and lets distant places of the picture talk to each other through a few group tokens. A small one was just "
        "trained here for three tasks: to read single digits, to label every pixel of scenes with digits, and to find "
        "each digit in such scenes. Everything below was measured in this one run.",
    ]
    caption = (
        "Reading is trained in full. Labelling and finding are cut short, so that all is done within minutes on two "
        "cores: their figures show that the code learns, not how well it can."
    )
    return Section("overview", "The results in five figures", text, [Headlines(figures, caption)])
