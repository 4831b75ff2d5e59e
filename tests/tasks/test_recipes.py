import pytest

from gpvit.tasks import recipes
from gpvit.tasks.recipes import find_recipe

RECIPE = "digits/classify.yaml"


def test_the_recipe_is_found_in_the_checkout_and_in_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe(RECIPE).parts[-3:] == ("recipes", "digits", "classify.yaml")
    package = tmp_path / "site-packages" / "gpvit"
    recipe = package / "recipes" / "digits" / "classify.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.touch()
    monkeypatch.setattr(recipes, "_PACKAGE", package)
    assert find_recipe(RECIPE) == recipe
    assert find_recipe(f"recipes/{RECIPE}") == recipe
    recipe.unlink()
    with pytest.raises(FileNotFoundError, match=r"no recipe at .*classify"):
        find_recipe(RECIPE)
