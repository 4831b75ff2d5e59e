"""What the group tokens do: an explanation, and their maps over digits and photographs."""

from importlib.resources import files

import numpy as np
from markupsafe import Markup

from gpvit.data.synthetic.photographs import load_photograph, photograph_credit, photograph_names
from gpvit.demo.experiments.digits import DigitsExperiment
from gpvit.demo.page.parts import Gallery, Part, Picture, Section, Steps, Table
from gpvit.inference.groups import BlockGroups, GroupImage, draw_groups

_CLASSES = (0, 3, 4, 7)
_PHOTOGRAPHS = ("china", "astronaut", "coffee", "rocket")
_PHOTOGRAPH_SIDE = 256  # shorter side, in pixels: a grid of 32 tokens and more
_HEATS = 5
_DIGITS_COMPARED = 50


def explanation(experiment: DigitsExperiment) -> Section:
    """Explain group tokens to somebody who has never heard of them."""
    side = experiment.image_size // 8
    blocks = [len(block.strength) for block in _draw(experiment, 0).blocks]
    drawing = Markup(files("gpvit.demo.sections").joinpath("group_propagation.svg").read_text(encoding="utf-8"))
    text = [
        f"A vision transformer cuts a picture into tokens, here one vector for every 8 x 8 pixels: {side} x {side} = "
        f"{side**2} for a digit, 784 for a photograph of 224 x 224, 16,000 for one of 800 x 1280. Letting every token "
        "attend to every other costs the square of that, which is why most networks soon shrink the grid and lose "
        "small things. GPViT keeps it. Most of its layers look along narrow stripes only; in four places, a group "
        "propagation (GP) block carries news across the whole picture by way of a few group tokens.",
        Markup(
            "A <strong>group token</strong> is a vector that is learned in training and the same for every picture: a "
            "standing question to the picture, such as “where is ink?”. Nobody says what it should ask for; the "
            "questions below are what training made of them. The GP blocks of this network have {} group tokens."
        ).format(", ".join(map(str, blocks))),
    ]
    steps = [
        ("Group.", "Each group token asks its question of all tokens and gathers an average of those that answer."),
        ("Propagate.", "The group tokens exchange what they gathered, among themselves; they are few, so it is cheap."),
        ("Ungroup.", "Each token of the picture asks the group tokens what concerns it, and takes that along."),
    ]
    closing = Steps(steps, drawing)
    return Section("group-tokens", "What is a group token?", text, [closing])


def digits(experiment: DigitsExperiment) -> Section:
    """Show which group each part of a digit belongs to, and where single groups look."""
    first = [int(np.flatnonzero(experiment.labels == label)[0]) for label in _CLASSES]
    drawn = [_draw(experiment, index) for index in first]
    pictures = []
    for label, picture in zip(_CLASSES, drawn, strict=True):
        pictures.append(Picture(picture.image, f"a {label}"))
        pictures += [Picture(picture.hard(block), f"block {block.block}") for block in picture.blocks]
    parts: list[Part] = [
        Gallery(
            pictures,
            1 + len(drawn[0].blocks),
            1 + len(drawn[0].blocks),
            "Who belongs to whom",
            "Each square is a token, in the colour of the group that gives it the largest share of itself. In one "
            "column the same colour is the same group, so compare downwards: where a colour returns at the same kind "
            "of place in every digit, such as ink, empty paper or one side of a stroke, a group has found something. "
            "Where the mosaic is wild, groups differ so little that chance decides. Between columns colours mean "
            "nothing: each block has groups of its own.",
        ),
        _heats(drawn[1], f"Where single groups look on the {_CLASSES[1]}"),
        _overlap_table(experiment),
    ]
    text = [
        "Which tokens does a group gather, and is it the same kind of place in every digit? Nobody told the network "
        "what ink or a stroke is: it was told one class for each picture, and all that you see here arose from that."
    ]
    return Section("groups-digits", "Groups on digits", text, parts)


def photographs(experiment: DigitsExperiment) -> Section:
    """Show what the digits' groups make of photographs, of which the model knows nothing."""
    galleries = []
    for name in [name for name in _PHOTOGRAPHS if name in photograph_names()]:
        picture = draw_groups(experiment.model, load_photograph(name), _PHOTOGRAPH_SIDE)
        height, width = picture.blocks[0].assignment.shape
        shown = [Picture(picture.image.convert("RGB"), "as the network sees it", photograph=True)]
        shown += [Picture(picture.hard(b), f"block {b.block}", photograph=True) for b in picture.blocks]
        credit = f"{width} x {height} tokens. Photograph: {photograph_credit(name)}; here scaled, gray and coloured in."
        galleries.append(Gallery(shown, 5, 2, name.capitalize(), credit, lead=True))
    text = [
        "This network has seen digits only, never a photograph; it has no idea of a face or a sky, and its answer to "
        "these pictures would be some digit. They are here for two reasons. One: the same weights, learned on "
        f"{experiment.image_size} x {experiment.image_size} pixels, take a picture of any size and shape. Two: one "
        "sees what the groups really respond to. Bright and dark areas and edges often still come apart, because they "
        "are what tells ink from paper. Other groups ask for parts of digits, of which there are none: much of the "
        "patchwork means little.",
        "Groups that follow objects, as in the paper's Figure 6, need a model that was trained on photographs: give "
        "one to “gpvit groups” (at the end of this page).",
    ]
    return Section("groups-photographs", "The digits' groups on photographs", text, galleries)


def _heats(picture: GroupImage, title: str) -> Gallery:
    """Show the most distinct groups of each block, a row for each."""
    heats = []
    for block in picture.blocks:
        for group in block.most_distinct(_HEATS):
            low, high = block.range_of(group)
            caption = f"block {block.block}, group {group}: {low:.1f} to {high:.1f}"
            heats.append(Picture(picture.soft(block, group), caption))
    caption = (
        f"A row for each GP block: its {_HEATS} groups that differ most on this digit; dark where a group gathers "
        "least, bright where most. The numbers are that range in multiples of an even share: 1 to 1 would be a group "
        "that gathers all tokens alike, and 10 stands for ten times the even share. Rows of like pictures are groups "
        "that ask alike."
    )
    return Gallery(heats, _HEATS, _HEATS, title, caption)


def _overlap_table(experiment: DigitsExperiment) -> Table:
    """Measure how alike the groups of each block are."""
    drawn = [_draw(experiment, index) for index in range(_DIGITS_COMPARED)]
    rows = []
    for position, block in enumerate(drawn[0].blocks):
        overlap = np.mean([mean_overlap(picture.blocks[position]) for picture in drawn])
        peak = np.mean([picture.blocks[position].strength.max(axis=(1, 2)).mean() for picture in drawn])
        rows.append([f"block {block.block}", str(len(block.strength)), f"{overlap:.0%}", f"{peak:.1f}"])
    caption = (
        f"Means over {_DIGITS_COMPARED} test digits. Overlap: how much of their attention two of a block's groups have "
        "in common; 100 % means that all ask the same question, and fewer group tokens would have done. On a task this "
        "small, expect much overlap. Strongest token: what a group gives the token it likes best, "
        "in multiples of an even share."
    )
    return Table(["GP block", "groups", "overlap", "strongest token"], rows, caption)


def mean_overlap(block: BlockGroups) -> float:
    """Return how much of their attention two groups of a block have in common, in [0, 1], as a mean over all pairs."""
    maps = block.strength.reshape(len(block.strength), -1)
    one, other = np.triu_indices(len(maps), k=1)
    return float(np.minimum(maps[one], maps[other]).mean())


def _draw(experiment: DigitsExperiment, index: int) -> GroupImage:
    return draw_groups(experiment.model, experiment.images[index])
