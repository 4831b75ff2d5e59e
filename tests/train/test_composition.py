from pathlib import Path

import pytest
import yaml

from gpvit.errors import UserError
from gpvit.train import composition
from gpvit.train.composition import compose, find_recipe, merge
from gpvit.train.recipes import read_recipe

RECIPE = "digits/classify.yaml"


def write(folder: Path, **recipes: str) -> list[Path]:
    """Write recipes, `a="base: b.yaml"`, and give their paths."""
    paths = [folder / f"{name}.yaml" for name in recipes]
    for path, text in zip(paths, recipes.values(), strict=True):
        path.write_text(text)
    return paths


def test_the_recipe_is_found_in_the_checkout_and_in_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe(RECIPE).parts[-3:] == ("recipes", "digits", "classify.yaml")
    package = tmp_path / "site-packages" / "gpvit"
    recipe = package / "recipes" / "digits" / "classify.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.touch()
    monkeypatch.setattr(composition, "PACKAGE", package)
    assert find_recipe(RECIPE) == recipe
    assert find_recipe(f"recipes/{RECIPE}") == recipe
    recipe.unlink()
    with pytest.raises(FileNotFoundError, match=r"no recipe at .*classify"):
        find_recipe(RECIPE)


def test_later_files_win_over_earlier_ones_and_a_recipe_over_its_bases(tmp_path):
    a, b, _, _ = write(
        tmp_path,
        a="base: [c.yaml, d.yaml]\ntrain: {epochs: 3}",
        b="train: {devices: 4}\nmodel: null",
        c="train: {epochs: 1, devices: 1, precision: c}\nlist: [1, 2]",
        d="train: {epochs: 2, devices: 2}\nlist: [3]\noptim: {lr: 1e-4}",
    )
    assert compose([a]).settings == {
        "train": {"epochs": 3, "devices": 2, "precision": "c"},
        "list": [3],
        "optim": {"lr": 0.0001},  # a number here as on the command line, though YAML 1.1 has it a text
    }
    both = compose([a, b])
    assert both.settings["train"] == {"epochs": 3, "devices": 4, "precision": "c"}
    assert both.settings["model"] is None
    assert [both.places.get(("train", key)) for key in ("epochs", "devices", "precision")] == [
        (a, 2),
        (b, 1),
        (tmp_path / "c.yaml", 1),
    ]
    assert both.places.get(("train", "strategy")) is None


def test_options_lie_over_the_files_and_are_in_none_of_them(tmp_path):
    a, b = write(tmp_path, a="train: {epochs: 3, clip: 1.0}", b="base: a.yaml\ntrain: {clip: 2.0}")
    options = {"train.clip": "3", "data.augmentation.scale": 2}
    composed = compose([b]).overridden(options)
    assert composed.settings == {"train": {"epochs": 3, "clip": "3"}, "data": {"augmentation": {"scale": 2}}}
    assert composed.where(("train", "epochs")) == f"{a}, line 1: "
    assert composed.where(("train", "clip")) == composed.where(("data", "augmentation")) == ""


def test_a_base_is_relative_to_its_recipe_or_a_recipe_of_the_package(tmp_path, monkeypatch):
    inner = tmp_path / "inner"
    inner.mkdir()
    write(tmp_path, shared="train: {seed: 7}")
    (own,) = write(inner, own="base: [recipes/digits/classify.yaml, ../shared.yaml]")
    monkeypatch.chdir(inner.parent.parent)
    composed = compose([own])
    assert composed.settings["train"]["seed"] == 7
    assert composed.settings["model"]["name"] == "gpvit_nano"


def test_another_class_begins_anew():
    lower = {"data": {"class": "A", "root": 1, "size": 2}}
    assert merge(lower, {"data": {"size": 3}})["data"] == {"class": "A", "root": 1, "size": 3}
    assert merge(lower, {"data": {"class": "A", "size": 3}})["data"] == {"class": "A", "root": 1, "size": 3}
    other = {"class": "B", "size": 3}
    assert merge(lower, {"data": other})["data"] == other
    assert lower == {"data": {"class": "A", "root": 1, "size": 2}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("epochs", "steps"), ("global_batch_size", "accumulate")),
        *(("warmup_epochs", "warmup_steps"), ("warmup", "warmup_steps"), ("warmup", "warmup_epochs")),
    ],
)
def test_what_says_the_same_takes_the_place_of_the_other(one, other):
    assert merge({one: 1}, {other: 2}) == {other: 2}
    assert merge({other: 1}, {one: 2}) == {one: 2}
    assert merge({one: 1}, {other: None}) == {one: 1, other: None}
    assert merge({one: 1}, {one: 2, other: 3}) == {one: 2, other: 3}  # the class refuses it, or says what counts


def test_merging_is_associative_and_keeps_what_is_repeated():
    parts = [{"a": {"b": 1}}, {"a": {"c": [1]}, "d": {"e": 2}}, {"a": {"b": None, "c": [2]}, "d": 5}]
    left = merge(merge(parts[0], parts[1]), parts[2])
    assert left == merge(parts[0], merge(parts[1], parts[2])) == {"a": {"b": None, "c": [2]}, "d": 5}
    assert merge(left, left) == merge(left, {}) == merge({}, left) == left


@pytest.mark.parametrize(
    ("recipes", "kind", "message"),
    [
        (
            {"a": "base: b.yaml", "b": "base: c.yaml", "c": "base: a.yaml"},
            ValueError,
            r"a.yaml -> .*b.yaml -> .*c.yaml",
        ),
        ({"a": "base: a.yaml"}, ValueError, r"own base; remove one"),
        (
            {"a": "base: absent.yaml"},
            FileNotFoundError,
            r"a.yaml, line 1: no recipe at .*absent.yaml; .* a base is relative to its recipe",
        ),
        ({"a": "base: 3"}, ValueError, r"a.yaml, line 1: base 3: name a recipe"),
        ({"a": "base: {b: c}"}, ValueError, r"a.yaml, line 1: base .*: name a recipe"),
        ({"a": "base: b.yaml", "b": "x: 1\ny: [1, 2\nz: 3"}, ValueError, r"b.yaml, line 3 is not YAML in UTF-8"),
        ({"a": "x: 1\n\tb: 2"}, ValueError, r"a.yaml, line 2 is not YAML"),
        ({"a": "x: {lr: 1}\ny: {lr: 2, \n    lr: 3}"}, ValueError, r"a.yaml, line 3: y.lr stands in line 2 already"),
        ({"a": "- 1\n- 2"}, ValueError, r"a.yaml holds no settings"),
        ({"a": "only words"}, ValueError, r"a.yaml holds no settings"),
    ],
)
def test_mistakes_name_the_file_and_the_line(recipes, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        compose(write(tmp_path, **recipes)[:1])


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"x: \xff\xfe")
    with pytest.raises(ValueError, match="is not YAML in UTF-8"):
        compose([tmp_path / "a.yaml"])


@pytest.mark.parametrize(("text", "settings"), [("", {}), ("# words\n", {}), ("train:\n", {"train": None})])
def test_files_that_say_next_to_nothing(text, settings, tmp_path):
    assert compose(write(tmp_path, a=text)).settings == settings


def test_two_bases_may_share_theirs(tmp_path):
    a, *_ = write(tmp_path, a="base: [b.yaml, c.yaml]", b="base: d.yaml\nx: 1", c="base: d.yaml\ny: 1", d="z: 1")
    assert compose([a]).settings == {"x": 1, "y": 1, "z": 1}


def test_every_recipe_of_the_package_can_be_composed_and_read_as_yaml():
    folder = find_recipe(RECIPE).parents[1]
    for path in folder.rglob("*.yaml"):
        own = yaml.safe_load(path.read_text())
        settings = compose([path]).settings
        assert {key for key in own if key != "base"} <= settings.keys()


MISTAKES = {
    "train:\n  epoks: 3": "line 3: there is no setting train.epoks; did you mean train.epochs?",
    "train:\n  max_epochs: 3": "line 3: there is no setting train.max_epochs; did you mean train.epochs?",
    "trainer:\n  max_epochs: 3": "line 2: there is no setting trainer; did you mean train?",
    "model:\n  lr: 3": "line 3: there is no setting model.lr; did you mean optim.lr?",
    "data:\n  epochs: 3": "line 3: there is no setting data.epochs; did you mean train.epochs?",
    "optim:\n  seed: 3": "line 3: there is no setting optim.seed; did you mean train.seed?",
    "model:\n  drop_path: 0.1": "line 3: gpvit_nano has no option 'drop_path'; did you mean drop_path_rate?",
    "model:\n  name: gpvit_nan": "line 3: model.name: unknown model 'gpvit_nan'; did you mean gpvit_nano",
    "data:\n  class: Digit": "line 3: data.class: 'Digit' is no LightningDataModule",
    "data: {class: DigitScenes}": "line 2: data.class: 'DigitScenes' is the name of several classes; give the path",
    "data:\n  class: pathlib.Path": "line 3: data.class: 'pathlib.Path' is no LightningDataModule",
    "data:\n  class: ImageFolder\n  root: x\n  augmentation:\n    erase_probabilty: 1": (
        "line 6: there is no setting data.augmentation.erase_probabilty; did you mean "
        "data.augmentation.erase_probability?"
    ),
    "data:\n  class: ImageFolder\n  root: x\n  augmentation: 3": "line 5: data.augmentation: 3 given, settings",
    "optim:\n  lr: high": "line 3: optim.lr: 'high' given, float expected",
    "optim:\n  freeze: head": "line 3: optim.freeze: 'head' given, Literal['backbone'] or int or null expected",
    "train: {seed: null}": "line 2: train.seed: None given, int expected",
    "train: {epochs: 1.5}": "line 2: train.epochs: 1.5 given, int or null expected",
    "train: 3": "line 2: train: 3 given, settings",
    "data:\n  class_path: gpvit.data.Digits": "line 3: there is no setting data.class_path; did you mean data.class?",
    "model:\n  init_args:\n    lr: 3": "line 3: there is no setting model.init_args; did you mean model.KEY, each",
    "optim: {learning_rate: 3}": "line 2: there is no setting optim.learning_rate; did you mean optim.lr?",
    "train: {clip: no}": "line 2: train.clip: 'no' given, float or null expected",
    "train: {clip: 1,5}": "line 2: there is no setting train.5; there are accelerator, ",
    "train: {epochs: 12:30}": "line 2: train.epochs: '12:30' given, a number expected",
    "train: {ema: 2024-01-01}": "line 2: train.ema: '2024-01-01' given, float or null expected",
    "train: {loggers: no}": "line 2: train.loggers: 'no' given, tuple expected",
    "train: {loggers: [no]}": "line 2: loggers no: choose of tensorboard and wandb",
    "optim: {schedule: on}": "line 2: optim.schedule: 'on' given, Literal['cosine', 'poly', 'multistep'] expected",
    "optim: {lr: .nan}": "line 2: lr nan: give a number, 0 or more",
    "optim: {warmup: 1}": "line 2: warmup 1.0: give a share of the run",
    "model: {name: no}": "line 2: model.name: unknown model 'no'; there are gpvit_nano",
    "data: {class: ImageFolder, root: x, augmentation: {rand_augment: off}}": "line 2: rand_augment 'off': write it",
    "train:\n  seed: 1\n  seed: 2": "line 4: train.seed stands in line 3 already; keep one of them",
    "model: {class: tasks.odd_tasks.MyTask}": "line 2: model.class: 'tasks.odd_tasks.MyTask' is no LightningModule",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_line_and_what_it_may_have_meant(text, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"base: {find_recipe(RECIPE)}\n{text}\n")
    with pytest.raises(UserError) as raised:
        read_recipe([str(recipe)])
    assert str(raised.value).startswith(f"{recipe}, {MISTAKES[text]}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optim.layer_deca", "1"], "there is no setting optim.layer_deca; did you mean optim.layer_decay?"),
        (["--epochs", "1"], "there is no setting epochs; did you mean train.epochs?"),
        (["--train.zzz", "1"], "there is no setting train.zzz; there are accelerator, accumulate, "),
        (["--data.image_size", "big"], "data.image_size: 'big' given, int expected"),
        (["--data.image_size"], "data.image_size: '' given, int expected"),
        (["--data.class", "ImageFolder"], "classify.yaml: data.root is missing; add it, or give --data.root VALUE"),
    ],
)
def test_mistakes_on_the_command_line_are_named_without_a_line(arguments, message):
    with pytest.raises(UserError) as raised:
        read_recipe([f"recipes/{RECIPE}", *arguments])
    assert message in str(raised.value)
    assert "line" not in str(raised.value)
    assert "Union" not in str(raised.value)


MEANT = {
    "optim: {lr: 1e-4}": 1e-4,
    "optim: {betas: [.9, 9e-1]}": [0.9, 0.9],
    "optim: {freeze: 03}": 3,
    "train: {seed: 08}": 8,
    "train: {seed: +8}": 8,
    "train: {epochs: 010}": 10,
    "train: {epochs: '10'}": 10,
    "train: {steps: 1e5}": 100_000,
    "train: {clip: 1}": 1.0,
    "train: {clip: ~}": None,
    "train: {sync_batchnorm: no}": False,
    "train: {compile: Off}": False,
    "train: {grad_checkpointing: yes}": True,
    "train: {grad_checkpointing: true}": True,
    "data: {image_size: 0x40}": 64,
    "model: {weights: no}": "no",
    "model: {weights: 08}": "08",
    "model: {weights: 2024}": "2024",
    "model: {weights: 2024-01-01}": "2024-01-01",
    "model: {weights: null}": None,
    "model: {drop_path_rate: 1e-1}": 0.1,
}


@pytest.mark.parametrize("text", MEANT)
def test_a_setting_is_read_as_its_type_means_it(text, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"base: {find_recipe(RECIPE)}\n{text}\n")
    group, key = text.partition(": {")[0], text.partition("{")[2].partition(":")[0]
    value = read_recipe([str(recipe)]).settings[group][key]
    assert (type(value), value) == (type(MEANT[text]), MEANT[text])


@pytest.mark.parametrize("kind", ["~/own", "$OWN", "${OWN}", "own", "./sub/../own"])
def test_paths_are_found_wherever_one_stands(kind, tmp_path, monkeypatch):
    for name, value in (("HOME", tmp_path), ("OWN", tmp_path / "own")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for folder in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / "own" / folder).mkdir(parents=True)
    (tmp_path / "own/base.yaml").write_text("base: recipes/folder/small/classify.yaml\n")
    (tmp_path / "mine.yaml").write_text(f"base: {kind}/base.yaml\ndata: {{root: '{kind}'}}\n")
    for name in ("mine.yaml", f"{kind}/../mine.yaml"):
        recipe = read_recipe([name, f"--out={kind}/run"])
        assert recipe.create_data().class_names == ("cat", "dog")
        assert recipe.out.resolve() == tmp_path / "own/run"
    (tmp_path / "own/run").mkdir()
    (tmp_path / "own/run/config.yaml").write_text("base: ../../mine.yaml\n")
    assert read_recipe([f"--resume={kind}/run"]).out.resolve() == tmp_path / "own/run"
