import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from InfantBrainSegLib.core.errors import TrainingError
from InfantBrainSegLib.training.config import TrainingConfig
from InfantBrainSegLib.training.data.batches import BatchMaker, rotate_and_flip, simulated_sources
from InfantBrainSegLib.training.recipe import BUNDLED
from InfantBrainSegLib.training.simulation.synthesis import Simulator


def absent(images):
    """Which of T1 and T2 each patch lacks."""
    return [tuple(bool(torch.any(stream)) for stream in patch) for patch in images]


@pytest.mark.parametrize(("chance", "augment", "lacking"), [(0.0, True, False), (1.0, True, True), (1.0, False, False)])
def test_a_patch_lacks_one_stream_with_the_chance_asked_for_and_only_in_training(label_map, chance, augment, lacking):
    maker = BatchMaker(Simulator([label_map], device=torch.device("cpu")), BUNDLED, 16, stream_dropout=chance)
    images, _ = maker.batch(np.random.default_rng(3), 6, augment=augment)
    found = absent(images)
    assert set(found) == ({(True, False), (False, True)} if lacking else {(True, True)})


def test_images_and_labels_move_together_and_z_stays():
    labels = torch.arange(4 * 4 * 3).reshape(4, 4, 3)
    seen = set()
    for seed in range(40):
        images, moved = rotate_and_flip(torch.stack([labels, 2 * labels]), labels, np.random.default_rng(seed))
        assert torch.equal(images, torch.stack([moved, 2 * moved]))
        assert torch.equal(moved.flatten(0, 1).sort(0).values, labels.flatten(0, 1).sort(0).values)
        seen.add(tuple(moved[:, :, 0].flatten().tolist()))
    assert len(seen) == 8


def test_a_pack_of_other_maps_is_made_anew(label_map_folder, tmp_path):
    folder = tmp_path / "maps"
    shutil.copytree(label_map_folder, folder)
    config = TrainingConfig(label_maps=str(folder), pack=str(tmp_path / "pack.npz"), patch_voxels=16)
    training, _ = simulated_sources(config, torch.device("cpu"), None, None)
    assert [label_map.name for label_map in training.simulator.maps] == ["adult_01"]
    shutil.copy(folder / "adult_01.nii.gz", folder / "adult_02.nii.gz")
    training, _ = simulated_sources(config, torch.device("cpu"), None, None)
    assert [label_map.name for label_map in training.simulator.maps] == ["adult_01", "adult_02"]
    training, _ = simulated_sources(replace(config, label_maps=""), torch.device("cpu"), None, None)
    assert [label_map.name for label_map in training.simulator.maps] == ["adult_01", "adult_02"]


def test_mixed_maps_join_those_trained_on_and_never_those_held_out(label_map_folder, tmp_path):
    folder = tmp_path / "maps"
    shutil.copytree(label_map_folder, folder)
    shutil.copy(folder / "adult_01.nii.gz", folder / "adult_02.nii.gz")
    config = TrainingConfig(label_maps=str(folder), pack=str(tmp_path / "pack.npz"), patch_voxels=16, mixed_maps=2)
    training, held_out = simulated_sources(config, torch.device("cpu"), None, None)
    names = [label_map.name for label_map in training.simulator.maps]
    assert names[:2] == ["adult_01", "adult_02"]
    assert sorted(name[:17] for name in names[2:]) == ["adult_01+adult_02", "adult_02+adult_01"]
    assert [label_map.name for label_map in held_out.simulator.maps] == ["adult_15"]
    assert len(training.batch(np.random.default_rng(1), 2)[0]) == 2


@pytest.mark.parametrize("label_maps", ["", "nowhere"])
def test_without_label_maps_the_error_says_where_they_come_from(label_maps, tmp_path):
    config = TrainingConfig(label_maps=label_maps, pack=str(tmp_path / "pack.npz"))
    with pytest.raises(TrainingError, match=r"SynthSeg.*--label-maps"):
        simulated_sources(config, torch.device("cpu"), None, None)
