from InfantBrainSegLib.training import recipes_folder
from InfantBrainSegLib.training.config import read_config
from InfantBrainSegLib.training.recipe import RECIPES, STAGES


def test_every_recipe_starts_from_what_another_one_made_and_never_from_its_own_result():
    recipes = {path.stem: read_config(path) for path in sorted(recipes_folder().glob("*.json"))}
    results = {f"{recipe.output_dir}/weights/{recipe.stage}.pt": name for name, recipe in recipes.items()}
    assert len(results) == len(recipes) > 0
    parents = {name: {results[given] for given in (recipe.start_from, recipe.fcn1) if given} for name, recipe in recipes.items()}
    made: set[str] = set()
    while ready := {name for name, needed in parents.items() if needed <= made} - made:
        made |= ready
    assert made == set(recipes)


def test_no_recipe_names_a_folder_of_label_maps():
    assert {read_config(path).label_maps for path in recipes_folder().glob("*.json")} == {""}


def test_a_guided_stage_sees_a_distance_map_of_each_class_but_the_background():
    assert [STAGES[name].streams(4) for name in ("fcn1", "fcn2", "locate", "refine")] == [(1, 1), (1, 1, 3), (1, 1), (1, 1, 3)]
    assert STAGES["fcn2"].streams(5) == (1, 1, 4)


def test_names_stand_for_the_stage_and_the_recipe_that_are_called_so():
    for path in recipes_folder().glob("*.json"):
        config = read_config(path)
        assert config.stage_facts is STAGES[config.stage]
        assert config.recipe_facts is RECIPES[config.recipe]
        assert config.stage_facts.name == config.stage
        assert config.recipe_facts.name == config.recipe
