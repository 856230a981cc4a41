import numpy as np
import torch

from InfantBrainSegLib.training.data.augment import rotate_and_flip


def test_images_and_labels_move_together_and_z_stays():
    labels = torch.arange(4 * 4 * 3).reshape(4, 4, 3)
    seen = set()
    for seed in range(40):
        images, moved = rotate_and_flip(torch.stack([labels, 2 * labels]), labels, np.random.default_rng(seed))
        assert torch.equal(images, torch.stack([moved, 2 * moved]))
        assert torch.equal(moved.flatten(0, 1).sort(0).values, labels.flatten(0, 1).sort(0).values)
        seen.add(tuple(moved[:, :, 0].flatten().tolist()))
    assert len(seen) == 8
