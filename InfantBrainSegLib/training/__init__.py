"""Training: label maps, the simulator, losses and the trainer. Inference never imports it."""

from pathlib import Path


def recipes_folder() -> Path:
    """Folder of the JSON configs that come with the library: the bundled weights' and the paper's."""
    return Path(__file__).parent / "recipes"
