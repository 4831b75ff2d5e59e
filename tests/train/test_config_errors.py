import pytest

from gpvit.errors import UserError
from gpvit.train.composition import find_recipe
from gpvit.train.recipes import read_recipe

RECIPE = "recipes/digits/classify.yaml"

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
    "train: {epochs: 1.5}": "line 2: train.epochs: 1.5 given, int or null expected",
    "train: 3": "line 2: train: 3 given, settings",
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
        read_recipe([RECIPE, *arguments])
    assert message in str(raised.value)
    assert "line" not in str(raised.value)
    assert "Union" not in str(raised.value)
