import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch
from stand_ins import of_arrays

from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.networks import predictor as runner_module
from InfantBrainSegLib.networks.weights import load_network, save_weights
from InfantBrainSegLib.pipeline.newborn import newborn_share, with_wm_bias
from InfantBrainSegLib.pipeline.report import Report
from InfantBrainSegLib.pipeline.segmenter import SegmentOptions, segment

NEWBORN_T1 = np.array([0, 40, 100, 80], np.float32)
NEWBORN_T2 = np.array([0, 400, 160, 240], np.float32)


def scans_of(t1_difference, t2_difference):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:5], labels[2:4] = GM.value, WM.value
    images = np.zeros((2, *labels.shape))
    for image, difference in zip(images, (t1_difference, t2_difference), strict=True):
        image[labels == GM.value], image[labels == WM.value] = 0.3, 0.3 + difference
    return images, labels


@pytest.mark.parametrize(
    ("t1_difference", "t2_difference", "share"),
    [
        (-0.6, 0.7, 1.0),
        (-0.3, 0.7, 0.5),
        (-0.6, 0.25, 0.25),
        (-0.1, 0.9, 0.0),  # isointense on T1
        (0.6, -0.7, 0.0),  # a late infant
        (-0.6, -0.7, 0.0),
        (0.0, 0.9, 0.0),  # T2 alone
    ],
)
def test_a_newborns_white_matter_is_dark_on_t1_and_bright_on_t2(t1_difference, t2_difference, share):
    assert newborn_share(*scans_of(t1_difference, t2_difference)) == pytest.approx(share)


def test_a_brain_without_white_or_gray_matter_has_no_contrast():
    images, labels = scans_of(-1, 1)
    for tissue in (GM, WM):
        assert newborn_share(images, np.where(labels == tissue.value, 0, labels)) == 0


def test_the_bias_is_added_to_the_logit_of_white_matter():
    logits = torch.randn(4, 5, 6, 7)
    more = logits.clone()
    more[WM.value] += 0.7
    assert torch.allclose(with_wm_bias(logits.softmax(0), 0.7), more.softmax(0), atol=1e-6)
    assert torch.equal(with_wm_bias(torch.zeros(4, 2, 2, 2), 0.7), torch.zeros(4, 2, 2, 2))  # outside of all windows


def unsure_of(order):
    """In place of a network: the phantom's three levels on T1 in this order, and GM at the front nearly as likely WM."""

    def predict(network, inputs, mask, config, device, progress=None):
        levels = np.unique(inputs[0][mask].round(3))
        nearest = np.abs(inputs[0][..., None] - levels).argmin(-1)
        probabilities = np.zeros((4, *mask.shape), np.float32)
        for tissue, level in zip(order, range(3), strict=True):
            probabilities[tissue.value][nearest == level] = 1
        unsure = probabilities[GM.value] > 0
        unsure[:, : mask.shape[1] // 2] = False
        probabilities[GM.value][unsure], probabilities[WM.value][unsure] = 0.55, 0.45
        return probabilities

    return of_arrays(predict)


@pytest.fixture
def biased_weights(weights_dir, tmp_path):
    for stage, bias in (("fcn1", 0.0), ("fcn2", 0.5)):
        loaded = load_network(stage, weights_dir)
        save_weights(loaded.network, stage, loaded.meta | {"newborn_wm_bias": bias}, tmp_path / f"{stage}.pt")
    return tmp_path


def white_matter(result):
    return int((sitk.GetArrayFromImage(result.labels) == WM.value).sum())


def segment_phantom(weights, t1_levels, t2_levels):
    grid = phantoms.grid()
    return segment(phantoms.draw(grid, t1_levels), phantoms.draw(grid, t2_levels), options=SegmentOptions("cpu", weights, extract="off"))


def test_a_newborns_unsure_border_becomes_white_matter_and_the_report_says_so(weights_dir, biased_weights, monkeypatch):
    monkeypatch.setattr(runner_module, "predict", unsure_of((CSF, WM, GM)))
    plain, biased = (segment_phantom(weights, NEWBORN_T1, NEWBORN_T2) for weights in (weights_dir, biased_weights))
    truth = (sitk.GetArrayFromImage(phantoms.draw(phantoms.grid())) == WM.value).sum()
    assert white_matter(plain) == truth
    assert white_matter(biased) > 1.5 * truth
    assert (plain.report.newborn_wm_bias, biased.report.newborn_wm_bias) == (0, 0.5)
    told = biased.report.to_json()
    assert Report.from_json(told).newborn_wm_bias == told["newborn_wm_bias"] == 0.5
    del told["newborn_wm_bias"]  # as in a report of before
    assert Report.from_json(told).newborn_wm_bias == 0


def test_another_contrast_keeps_the_networks_border(weights_dir, biased_weights, monkeypatch):
    monkeypatch.setattr(runner_module, "predict", unsure_of((CSF, GM, WM)))
    plain, biased = (segment_phantom(weights, phantoms.T1_LEVELS, phantoms.T2_LEVELS) for weights in (weights_dir, biased_weights))
    assert np.array_equal(sitk.GetArrayFromImage(plain.labels), sitk.GetArrayFromImage(biased.labels))
    assert biased.report.newborn_wm_bias == 0
