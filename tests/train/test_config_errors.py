import pytest

from gpvit.train.composition import find_recipe
from gpvit.train.recipes import resolve_recipe

RECIPE = "recipes/digits/classify.yaml"

MISSPELT = [
    (
        "trainer:\n  max_epoks: 3",
        "line 3: Group 'trainer' does not accept option 'max_epoks'; did you mean max_epochs?",
    ),
    ("trainr:\n  max_epochs: 3", "did you mean trainer?"),
    ("model:\n  init_args:\n    label_smoothin: 0", "line 4: .*did you mean label_smoothing?"),
    ("model:\n  class_path: gpvit.tasks.ClasificationTask", "did you mean ClassificationTask?"),
    (
        "data:\n  class_path: gpvit.data.ImageFolder\n  init_args:\n    augmentation:\n      erase_probabilty: 1",
        "line 6: .*did you mean erase_probability?",
    ),
]


@pytest.mark.parametrize(("text", "message"), MISSPELT, ids=range(len(MISSPELT)))
def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_one(text, message, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"base: {find_recipe(RECIPE)}\n{text}\n")
    with pytest.raises(ValueError, match=f"(?s){message.replace('?', '[?]')}") as raised:
        resolve_recipe([str(recipe)])
    if "line" in message:
        assert str(raised.value).startswith(f"{recipe}, line ")
    assert str(recipe) in str(raised.value) or "class_path" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.layer_deca", "1"], r"'layer_deca' is not accepted; did you mean layer_decay\?"),
        (["--trainer.max_epoch", "1"], r"did you mean --trainer.max_epochs\?"),
        (["--model.zzz", "1"], r"'zzz' is not accepted$"),  # nothing is near
        (["--data.image_size", "big"], r"image_size"),
    ],
)
def test_mistakes_on_the_command_line_are_named_without_a_file(arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        resolve_recipe([RECIPE, *arguments])
    assert ".yaml" not in str(raised.value)
    assert "Union" not in str(raised.value)
