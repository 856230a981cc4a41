import math

import numpy as np
import pytest
import torch

from InfantBrainSegLib.training.tally import Tally, dice_of, overlap_counts

PREDICTED = torch.tensor([0, 1, 1, 2, 3, 3, 3, 0]).reshape(1, 2, 2, 2)
LABELS = torch.tensor([0, 1, 2, 2, 3, 3, 2, 1]).reshape(1, 2, 2, 2)


def test_overlap_and_doc_of_eight_voxels():
    counts = overlap_counts(PREDICTED, LABELS)
    np.testing.assert_array_equal(counts, [[1, 1, 2], [2 + 2, 1 + 3, 3 + 2]])
    np.testing.assert_allclose(dice_of(counts), [2 / 4, 2 / 4, 4 / 5])


def test_a_tissue_that_neither_has_scores_0():
    np.testing.assert_array_equal(dice_of(overlap_counts(torch.zeros_like(LABELS), torch.zeros_like(LABELS))), [0, 0, 0])


def test_means_of_a_run_are_over_all_voxels():
    tally = Tally()
    assert math.isnan(tally.loss)
    tally.add(1.0, np.array([[1, 0, 0], [4, 2, 0]]), left_out=False)
    tally.add(0.5, np.array([[2, 0, 0], [4, 2, 0]]), left_out=True)
    assert tally.loss == pytest.approx(0.75)
    assert tally.left_out == 1
    np.testing.assert_allclose(tally.dice, [6 / 8, 0, 0])
    assert tally.seconds >= 0
