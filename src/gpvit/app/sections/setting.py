"""What the figures were measured with, how to repeat them, and where to go from here."""

import platform
import shlex

import lightning
import torchvision
from markupsafe import Markup

from gpvit.app.experiment import Experiment
from gpvit.app.page.parts import Section, Table


def setting(experiment: Experiment) -> Section:
    """Name machine, versions, settings and the command."""
    machine = experiment.speed.machine
    task, data = (experiment.settings[key]["init_args"] for key in ("model", "data"))
    rows = [
        ["command", Markup("<code>{}</code>").format(experiment.command)],
        ["seed", str(experiment.summary["seed"])],
        ["processor", f"{machine.cpu}; cores: {machine.cores}, threads that compute: {machine.threads}"],
        ["GPU", machine.gpu or "none"],
        ["system", f"{machine.system}, Python {platform.python_version()}"],
        [
            "versions",
            f"gpvit {machine.gpvit}, torch {machine.torch}, torchvision {torchvision.__version__}, "
            f"timm {machine.timm}, lightning {lightning.__version__}",
        ],
        [
            "training",
            f"{task['name']}, {len(experiment.epochs)} epochs, batches of {data['batch_size']}, AdamW, learning rate "
            f"{task['lr']:g} with {task['warmup_epochs']:g} epochs of warm-up and a cosine, weight decay "
            f"{task['weight_decay']:g}",
        ],
        [
            "augmentation",
            f"turned by up to {data['rotation_degrees']:g}°, moved by up to {data['shift']:.0%} of the side, scaled by "
            f"up to {data['zoom']:.0%}",
        ],
    ]
    text = [
        "The same command on the same machine and versions gives the same accuracy up to the order in which sums are "
        "rounded; another processor gives a figure near it."
    ]
    return Section("setting", "How to repeat it", text, [Table((), rows, numeric=False)])


def further(experiment: Experiment) -> Section:
    """Say what lies beside this page and what to do next."""
    files = [
        ["metrics.json", "The figures of this page."],
        ["run/best.safetensors, run/last.safetensors", "Weights that describe themselves: the best epoch, the last."],
        ["run/config.yaml", "Every setting of the training."],
        ["run/metrics.csv, run/events.out.tfevents…", "The course of the training, as a table and for TensorBoard."],
        ["run/last.ckpt", "Where “gpvit train --resume” goes on."],
    ]
    weights = shlex.quote(str(experiment.folder / "last.safetensors"))
    commands = [
        (f"gpvit evaluate {weights}", "score the weights again"),
        (f"gpvit predict {weights} PICTURE...", "read your own digits: light ink on black"),
        ("gpvit groups gpvit_l1.in1k PICTURE...", "groups of a model trained on ImageNet (fetches its weights)"),
        ("gpvit train recipes/folder/finetune.yaml", "train on your own folder of images"),
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
