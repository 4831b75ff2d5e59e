"""The paper's results, made again: `python -m studies VERB`; each verb writes tables and charts into `--out`."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from gpvit.errors import UserError
from studies.report import ResultTable, chart, save_chart

Arguments = argparse.Namespace


def table(args: Arguments) -> Iterable[Path]:
    """Print and write one of the paper's tables, our figures beside the published ones."""
    from studies.tables import build_table

    measuring = {name: getattr(args, name) for name in ("rounds", "device", "dtype")}
    given = {name: value for name, value in measuring.items() if value is not None}
    if args.number == "10":
        from studies.speed import speed_table

        return show(args, speed_table(args.quick, **given, progress=True))
    if given:
        named = ", ".join(f"--{name}" for name in given)
        raise UserError(f"table {args.number} counts and measures nothing; leave out {named}, or choose table 10")
    return show(args, build_table(args.number, args.quick))


def figure(args: Arguments) -> Iterable[Path]:
    """Draw the paper's figure 5, the cost of a block, or figure 6, what the groups of several models look at."""
    if args.number == 5:
        from studies.figure_5 import draw_macs, macs_table

        given = {"models": args.models, "--images": args.images, "--size": args.size, "--block": args.block}
        if refused := [name for name, value in given.items() if value not in (None, [])]:
            raise UserError(f"leave out {', '.join(refused)}: figure 5 counts blocks, and sees no images")
        return show(args, macs_table((64, 128), (216,), 64) if args.quick else macs_table(), draw_macs)
    from gpvit.data.files import list_images
    from studies.figure_6 import FIGURE_6_MODELS, draw_figure_6

    models = args.models or (["gpvit_nano"] if args.quick else FIGURE_6_MODELS)
    images = list_images(args.images.split(",")) if args.images else []
    with chart(1, 1):
        drawing = draw_figure_6(models, images, 64 if args.quick and args.size is None else args.size, args.block)
        return save_chart(drawing, args.out, "figure_6")


def scaling(args: Arguments) -> Iterable[Path]:
    """Measure how time and peak memory grow with the image, for each kind of block and for whole models."""
    from gpvit.devices import choose_device
    from studies import scaling as study
    from studies.scaling_tables import allocator_settings, crossings_table, draw_scaling, exponents_table, scaling_table

    choose_device(args.device)
    sizes, split = (study.QUICK_SIZES, study.QUICK_SIZES[0]) if args.quick else (study.SIZES, 512)
    models = () if args.blocks_only else study.QUICK_MODELS if args.quick else study.MODELS
    subjects, rounds = [*study.BLOCKS, *models], 1 if args.quick else args.rounds
    rows = study.measure_scaling(subjects, sizes, rounds, args.time_limit, args.dtype, args.device, progress=True)
    panels = {"blocks": [row for row in rows if row["what"] in {block.label for block in study.BLOCKS}]}
    if models:
        panels["models"] = [row for row in rows if row not in panels["blocks"]]
    args.command = " ".join([*allocator_settings(), args.command])
    tables = [scaling_table(rows, args.dtype, args.device, rounds), exponents_table(rows, split)]
    tables += [crossings_table(panels["models"])] if models else []
    paths = [path for each in tables[1:] for path in show(args, each)]
    return [*show(args, tables[0], lambda figure, _: draw_scaling(figure, panels, split)), *paths]


def experiment(args: Arguments) -> Iterable[Path]:
    """Train backbones that differ in their token mixing, and set them side by side.

    `exchange`: all label the ink of digits on photographs, as the paper's Tables 7 and 9 do on ADE20K. `keys`: only
    digits that equal the one in a framed corner are to be labelled, which nobody can do who does not look there. These
    are 21 and 24 trainings of some 4 minutes on one core: with two cores and --jobs 2, about an hour each.
    """
    from studies.experiments.comparisons import EXPERIMENTS

    study = EXPERIMENTS[args.name]
    result, paths = study.run(args.out, args.seeds, args.jobs, args.recipes, args.quick, args.command)
    Console().print(result)
    return paths


def peers(args: Arguments) -> Iterable[Path]:
    """Measure GPViT beside the usual backbones of the field; draw published accuracy against time.

    On a GPU eager and compiled, in bfloat16 unless --dtype says otherwise.
    """
    from gpvit.profile.workload import parse_size
    from studies.speed import PEER_SIZES, PEERS, draw_peers, measure_peers

    sizes = PEER_SIZES if args.size is None else [parse_size(size) for size in args.size.split(",")]
    options = {"device": args.device, "dtype": args.dtype, "memory": not args.no_memory, "progress": True}
    models = args.models or tuple(PEERS)
    return show(args, measure_peers(models, sizes, args.rounds, args.warmup, **options), draw_peers)


def stands(args: Arguments) -> Iterable[Path]:
    """Set GPViT's published scores beside those of others, before and since, against parameters and MACs."""
    from studies.stands import draw_stands, stands_table

    return show(args, stands_table(args.quick), draw_stands)


def groups(args: Arguments) -> Iterable[Path]:
    """Judge the groups of trained models by how well they agree with the digits of scenes."""
    from studies.groups import MEASURES, Setting, draw_agreement, judge

    result = judge(args.checkpoints, Setting(args.scenes, args.size, args.seeds))
    return show(args, result, draw_agreement, ["model", "block", "assigned", "weights", *MEASURES])


def ship(args: Arguments) -> Iterable[Path]:
    """Put the last weights of a run into the package, with a certificate of their score on its validation data."""
    from studies.ship import ship as write

    return write(args.folder, args.name)


def fine_tuning(args: Arguments) -> Iterable[Path]:
    """Fine-tune the shipped reader of digits to letters in five ways, and see how many images reach what score.

    These are 45 trainings of some 30 s on one core. Those that `--out` holds are not repeated.
    """
    from studies.experiments.fine_tuning import compare, draw_curves

    quick: Any = {"seeds": 1, "per_class": (2, 4), "train__steps": 2} if args.quick else {"seeds": args.seeds}
    result, rows, paths = compare(args.out, command=args.command, **quick)
    Console().print(result)
    with chart(7.5, 4.2) as drawing:
        draw_curves(drawing, rows)
        return [*paths, *save_chart(drawing, args.out, result.name)]


def show(
    args: Arguments,
    result: ResultTable,
    draw: Callable[[Figure, ResultTable], None] | None = None,
    shown: Sequence[str] = (),
) -> list[Path]:
    """Print a table, all of its columns or those that a terminal has room for, and write it, with its chart."""
    columns = [column for column in result.columns if column.key in shown] if shown else result.columns
    Console().print(replace(result, columns=columns))
    paths = replace(result, command=args.command).write(args.out)
    if draw is not None:
        with chart(8, 6) as drawing:
            draw(drawing, result)
            paths += save_chart(drawing, args.out, result.name)
    return paths


def create_parser() -> argparse.ArgumentParser:
    """Describe the verbs and their options."""
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)

    def add(verb: Callable[[Arguments], Iterable[Path]], quick: str = "") -> Callable[..., argparse.Action]:
        text = verb.__doc__ or ""
        own = verbs.add_parser(verb.__name__, help=text.partition(".")[0], description=text, allow_abbrev=False)
        own.set_defaults(run=verb)
        own.add_argument("--out", default="results", help="folder for tables and charts")
        if quick:
            own.add_argument("--quick", action="store_true", help=quick)
        return own.add_argument

    def add_device(add_argument: Callable[..., argparse.Action], device: str | None, dtype: str | None) -> None:
        add_argument("--device", default=device, help="cpu or cuda")
        add_argument("--dtype", default=dtype, choices=["float32", "bfloat16"], help="bfloat16 is autocast")

    option = add(table, "a few rows of the smallest models")
    option("number", help="1 to 10, or design: what else the released code chose; only table 10 measures")
    option("--rounds", type=int, help="of table 10: how often each case is timed")
    add_device(option, None, None)
    option = add(figure, "the smallest blocks, images and model")
    option("number", type=int, choices=[5, 6])
    option("models", nargs="*", help="of figure 6: names, as gpvit_l1.in1k, or checkpoints of a GPViT")
    option(
        "--images", help="of figure 6: files, folders and patterns, separated by commas; else photographs of our own"
    )
    option("--size", type=int, help="of figure 6: shorter side in pixels that images are resized to")
    option("--block", type=int, help="of figure 6: index of the group propagation block; else the last one")
    option = add(scaling, "small images, gpvit_nano in place of GPViT-L1 and one round")
    option("--blocks-only", action="store_true", help="leave the models out")
    option("--rounds", type=int, default=5, help="how often each case is timed")
    option(
        "--time-limit", type=float, default=45.0, help="seconds; a series ends before a step expected to take longer"
    )
    add_device(option, "cpu", "float32")
    option = add(experiment, "train two backbones hardly at all")
    option("name", choices=["exchange", "keys"])
    option("recipes", nargs="*", help="laid over the experiment's own, as recipes/experiments/longer.yaml for a GPU")
    option("--seeds", type=int, default=3, help="how many seeds each backbone is trained with")
    option("--jobs", type=int, default=1, help="trainings at a time; they share the cores")
    option = add(fine_tuning, "a step of each training")
    option("--seeds", type=int, default=3, help="how many seeds each way is trained with")
    option = add(peers)
    option("models", nargs="*", help="names of this package or of timm; else the usual ones")
    option("--size", help="height x width in pixels, several separated by commas; else 224x224,512x512,800x1280")
    option("--rounds", type=int, default=3, help="how often each case is timed")
    option("--warmup", type=int, default=2, help="untimed steps of each case beforehand")
    option("--no-memory", action="store_true", help="do not measure memory, which takes a fresh process a case")
    add_device(option, "cpu", None)
    add(stands, "a few rows of the smallest models")
    option = add(groups)
    option("checkpoints", nargs="*", help="weights of a classifier, segmenter or detector on a GPViT")
    option("--scenes", type=int, default=100, help="number of test scenes")
    option("--size", type=int, default=128, help="side of a scene in pixels")
    option("--seeds", type=int, default=3, help="number of untrained models to compare with")
    option = add(ship)
    option("folder", type=Path, help="the run's")
    option("name", help="model and tag, as gpvit_nano.digits")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return 0, or 1 for a user's mistake, which is told on stderr."""
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read once, when torch is imported; as `gpvit` sets it
    words = list(sys.argv[1:] if arguments is None else arguments)
    args = create_parser().parse_args(words)
    if "--out" in words:  # where to is no part of what makes a result again
        del words[words.index("--out") : words.index("--out") + 2]
    args.command = shlex.join(["python", "-m", "studies", *words])
    try:
        for path in args.run(args):
            print(path)
    except (UserError, OSError) as error:
        print(f"python -m studies {args.verb}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
