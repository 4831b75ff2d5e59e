"""What the figures were measured with, how to repeat them, and where to go from here."""

import platform
import shlex

import lightning
import torchvision
from markupsafe import Markup

from gpvit.demo.experiments.run import Run
from gpvit.demo.page.parts import Section, Table
from gpvit.demo.results import DemoResults


def setting(results: DemoResults) -> Section:
    """Name machine, versions, settings and the command."""
    machine = results.digits.speed.machine
    rows = [
        ["command", Markup("<code>{}</code>").format(results.command)],
        ["seed", str(results.digits.run.summary["seed"])],
        ["processor", f"{machine.cpu}; cores: {machine.cores}, threads that compute: {machine.threads}"],
        ["GPU", machine.gpu or "none"],
        ["system", f"{machine.system}, Python {platform.python_version()}"],
        [
            "versions",
            f"gpvit {machine.gpvit}, torch {machine.torch}, torchvision {torchvision.__version__}, "
            f"timm {machine.timm}, lightning {lightning.__version__}",
        ],
        *([task, _training(run)] for task, run in zip(("reading", "labelling", "finding"), results.runs, strict=True)),
    ]
    text = [
        "The same command on the same machine and versions gives the same accuracy up to the order in which sums are "
        "rounded; another processor gives a figure near it."
    ]
    return Section("setting", "How to repeat it", text, [Table((), rows, numeric=False)])


def _training(run: Run) -> str:
    return (
        f"{run.task['name']}, {run.steps} steps of {run.data['batch_size']} images in {run.seconds:.0f} s, AdamW, "
        f"learning rate {run.task['lr']:g}, weight decay {run.task['weight_decay']:g}"
    )


def further(results: DemoResults) -> Section:
    """Say what lies beside this page and what to do next."""
    files = [
        ["metrics.json", "The figures of this page."],
        ["run, segmentation, detection", "The runs of reading, labelling and finding. In each:"],
        ["best.safetensors, last.safetensors", "Weights that describe themselves: the best epoch, the last."],
        ["config.yaml", "Every setting of the training."],
        ["metrics.csv, events.out.tfevents…", "The course of the training, as a table and for TensorBoard."],
        ["data.png", "A sheet of training scenes with their truth (not of single digits)."],
        ["last.ckpt", "Where “gpvit train --resume” goes on."],
    ]
    reader, labeller, finder = (shlex.quote(str(run.weights)) for run in results.runs)
    commands = [
        (f"gpvit evaluate {reader}", "score weights again; those of the other two on more scenes than here"),
        (f"gpvit predict {reader} PICTURE...", "read your own digits: light ink on black"),
        (f"gpvit predict {labeller} PICTURE...", "label the digits in your own pictures"),
        (f"gpvit predict {finder} PICTURE...", "find them"),
        ("gpvit train recipes/digit_scenes/segment.yaml", "train the segmenter in full"),
        ("gpvit train recipes/digit_scenes/detect.yaml", "train the detector in full"),
        ("gpvit groups gpvit_l1.in1k PICTURE...", "groups of a model trained on ImageNet (fetches its weights)"),
        ("gpvit train recipes/folder/finetune.yaml", "train on your own folder of images"),
        ("gpvit train recipes/folder/segment.yaml", "on your own masks"),
        ("gpvit train recipes/folder/detect.yaml", "on your own objects, in COCO's format"),
        ("gpvit benchmark --suite field", "speed and memory beside other models"),
    ]
    code = Markup("<code>{}</code>")
    here = [[Markup(", ").join(code.format(name) for name in names.split(", ")), what] for names, what in files]
    next_steps = [[code.format(command), what] for command, what in commands]
    paper = Markup(
        "The paper: Chenhongyi Yang, Jiarui Xu, Shalini De Mello, Elliot J. Crowley, Xiaolong Wang, <em>GPViT: A High "
        'Resolution Non-Hierarchical Vision Transformer with Group Propagation</em>, ICLR 2023, <a href="{}">'
        "arXiv 2212.06795</a>. In this package, the GP block is <code>gpvit/layers/group_propagation.py</code>, the "
        "whole network <code>gpvit/models/backbone.py</code>; both read from top to bottom in the paper's order."
    ).format("https://arxiv.org/abs/2212.06795")
    return Section(
        "further",
        "Where to go from here",
        [paper],
        [
            Table(["command", "what it does"], next_steps, numeric=False),
            Table(["beside this page", "what it is"], here, numeric=False),
        ],
    )
