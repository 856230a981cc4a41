import numpy as np
import pytest
import torch
from label_maps import SHARED_LABEL_MAPS
from scipy import ndimage

from InfantBrainSegLib.core.errors import TrainingError
from InfantBrainSegLib.core.labels import CSF, GM, WM
from InfantBrainSegLib.preparation.normalisation import normalise
from InfantBrainSegLib.training.data.batches import normalise_like_a_volume
from InfantBrainSegLib.training.simulation import artefacts, measure
from InfantBrainSegLib.training.simulation.artefacts import ArtefactConfig, degrade, smooth_noise
from InfantBrainSegLib.training.simulation.contrast import ContrastConfig, draw_contrast
from InfantBrainSegLib.training.simulation.labelmaps import CORTEX, WHITE, LabelMap, read_label_map
from InfantBrainSegLib.training.simulation.measure import (
    histogram_overlap,
    isointense_subject,
    joint_overlap,
    six_month_subject,
    widened_subject,
)
from InfantBrainSegLib.training.simulation.synthesis import SIMULATIONS, Simulator, SimulatorConfig, _gradual_border


def test_the_same_seed_gives_the_same_patch(label_map):
    one, two = (Simulator([label_map]).patch(np.random.default_rng(7), 32) for _ in range(2))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.labels, two.labels)
    assert not torch.equal(one.images, Simulator([label_map]).patch(np.random.default_rng(8), 32).images)


def test_a_subject_is_stripped_holds_all_tissues_and_labels_lie_in_the_mask(label_map):
    synthesized = Simulator([label_map]).subject(label_map, np.random.default_rng(0))
    assert set(synthesized.labels.unique().tolist()) == {0, CSF.value, GM.value, WM.value}
    assert (synthesized.images[:, ~synthesized.mask] == 0).all()
    assert (synthesized.images[:, synthesized.mask] > 0).all()
    assert not (synthesized.labels[~synthesized.mask] > 0).any()


def test_csf_is_dark_on_t1_and_bright_on_t2(label_map):
    for seed in range(4):
        synthesized = Simulator([label_map]).subject(label_map, np.random.default_rng(seed))
        t1, t2 = (
            image[synthesized.labels == CSF.value].median() / image[synthesized.labels == GM.value].median() for image in synthesized.images
        )
        assert t1 < 1 < t2


def test_white_matter_of_newborns_is_darker_than_gray_on_t1_and_of_late_infants_brighter():
    rng = np.random.default_rng(0)
    for _ in range(20):
        newborn, late = draw_contrast(rng, phase="newborn"), draw_contrast(rng, phase="late")
        assert newborn.t1.unmyelinated < 1 < newborn.t2.unmyelinated
        assert late.t1.myelinated > 1 >= late.t2.myelinated


def test_isointense_white_matter_lies_on_both_sides_of_cortex_and_t2_lags():
    rng = np.random.default_rng(0)
    for _ in range(20):
        contrast = draw_contrast(rng, phase="isointense")
        assert contrast.t1.unmyelinated <= 1.02 < contrast.t1.myelinated
        assert contrast.t2.unmyelinated >= 0.99 >= contrast.t2.myelinated - 0.01
        assert contrast.t2.lag - contrast.t1.lag >= 0.5


def test_without_the_myelination_field_white_matter_differs_between_subjects_alone():
    rng = np.random.default_rng(0)
    even = [draw_contrast(rng, ContrastConfig(field_weight=0.0)) for _ in range(20)]
    assert all(c.depth_weight == c.central_weight == c.posterior_weight == c.noise_weight == 0 for c in even)
    assert len({c.offset for c in even}) == 20


def test_a_patch_is_normalised_as_its_whole_volume_would_be(label_map):
    differences = []
    own = np.count_nonzero(label_map.classes == CORTEX) / np.count_nonzero(label_map.classes == WHITE)
    as_drawn = SimulatorConfig(newborn_cortex=(own, own), cortex=(own, own), close_share=0.0)  # in so small a phantom sulci would fill
    for seed in range(6):
        synthesized = Simulator([label_map], as_drawn).subject(label_map, np.random.default_rng(seed))
        mask = synthesized.mask.numpy()
        by_volume = np.stack([normalise(image, mask) for image in synthesized.images.numpy()])
        differences.append(np.abs(normalise_like_a_volume(synthesized, None).numpy() - by_volume)[:, mask].mean())
    assert np.median(differences) < 0.4


def test_noise_fields_have_unit_sd_about():
    field = smooth_noise((1, 60, 60, 60), 6.0, torch.Generator().manual_seed(0))
    assert 0.75 < float(field.std()) < 1.25


def test_a_degraded_image_keeps_its_level_and_its_mask():
    mask = torch.zeros(24, 24, 24, dtype=torch.bool)
    mask[4:20, 4:20, 4:20] = True
    image = degrade(mask.float(), mask, ArtefactConfig(), np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert (image[~mask] == 0).all()
    assert float(image[mask].mean()) == pytest.approx(1, abs=0.15)


def test_histogram_overlap_of_halves_that_share_half_their_values():
    assert histogram_overlap(np.arange(0, 100), np.arange(50, 150), bins=150) == pytest.approx(0.5, abs=0.02)


def test_two_images_together_tell_apart_what_neither_tells_alone():
    gm = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])  # T1 and T2 agree
    wm = np.array([[0, 0, 1, 1], [1, 1, 0, 0]])  # they do not
    assert [histogram_overlap(gm[i], wm[i]) for i in (0, 1)] == [1, 1]
    assert joint_overlap(gm, wm) == 0
    assert joint_overlap(gm, np.concatenate([gm, wm], axis=1)) == 0.5


@pytest.mark.slow
def test_a_measured_subject_has_the_overlaps_asked_for_and_held_still(label_map, monkeypatch):
    monkeypatch.setattr(measure, "OVERLAP_TOLERANCES", (0.3, 0.3, 0.3))
    monkeypatch.setattr(artefacts, "_moved", lambda *_: pytest.fail("The subject moved."))
    for seed in range(8):
        synthesized, overlaps = isointense_subject(label_map, seed)
        assert overlaps == measure.gm_wm_overlaps(synthesized)
        assert np.abs(np.subtract(overlaps, (0.70, 0.87, 0.615))).max() <= 0.3


def test_a_measured_subject_of_an_adult_map_has_the_size_of_six_months(label_map, monkeypatch):
    monkeypatch.setattr(measure, "OVERLAP_TOLERANCES", (1.0, 1.0, 1.0))
    tissue_ml = np.count_nonzero(label_map.classes >= CORTEX) / 1000
    monkeypatch.setattr(measure, "typical_brain_ml", lambda age_months: 0.6 * tissue_ml / 0.9)
    volumes_ml = [int((isointense_subject(label_map, seed)[0].labels >= GM.value).sum()) / 1000 for seed in range(6)]
    assert np.mean(volumes_ml) == pytest.approx(0.6 * tissue_ml, rel=0.25)  # closed sulci add to it


def test_a_widened_subject_is_the_same_brain_with_more_fluid_the_wider_it_is(label_map):
    fluid = [int((widened_subject(label_map, wider_mm, 5).labels == CSF.value).sum()) for wider_mm in (0.0, 2.0, 4.0)]
    assert fluid[0] < fluid[1] < fluid[2]
    assert int((widened_subject(label_map, 2.0, 5).labels == CSF.value).sum()) == fluid[1]


def test_a_six_month_subject_has_the_gray_and_white_matter_of_real_ones(label_map, monkeypatch):
    tried = []
    subject = Simulator.subject
    monkeypatch.setattr(Simulator, "subject", lambda *given: tried.append(1) or subject(*given))
    once = ratio_of(six_month_subject(label_map, 4))
    monkeypatch.setattr(measure, "SIX_MONTHS_GM_WM", (once - 0.005, once + 0.005))
    assert ratio_of(six_month_subject(label_map, 4)) == once
    monkeypatch.setattr(measure, "_MAX_DRAWS", 2)
    monkeypatch.setattr(measure, "SIX_MONTHS_GM_WM", (50.0, 60.0))
    tried.clear()
    with pytest.raises(TrainingError, match=r"50\.0 to 60\.0 times"):
        six_month_subject(label_map, 4)
    assert len(tried) == 2


def ratio_of(synthesized) -> float:
    return int((synthesized.labels == GM.value).sum()) / int((synthesized.labels == WM.value).sum())


def synthesized_labels(label_map, phase: str | None = None, **ranges) -> np.ndarray:
    config = SimulatorConfig(adult_scale=(1.0, 1.0), **({"close_share": 0.0} | ranges))
    return Simulator([label_map], config).subject(label_map, np.random.default_rng(3), phase).labels.numpy()


def test_closing_sulci_grows_cortex_where_cortex_is_and_not_along_the_ventricles(label_map):
    before, after = synthesized_labels(label_map), synthesized_labels(label_map, close_share=1.0, close_mm=(1.3, 1.3))
    grown = (after == GM.value) & (before != GM.value) & (before > 0)
    middle = np.linalg.norm(np.argwhere(np.ones(grown.shape)) - (np.array(grown.shape) - 1) / 2, axis=1).reshape(grown.shape)
    ventricle = (before == CSF.value) & (middle < 9)
    assert ventricle.sum() > 20
    assert grown.sum() > 100
    assert not (grown & ndimage.binary_dilation(ventricle, np.ones((3, 3, 3)))).any()


@pytest.mark.parametrize("phase", ["newborn", "isointense", "late"])
def test_cortex_has_the_share_asked_for_and_newborns_one_of_their_own(label_map, phase):
    own = np.count_nonzero(label_map.classes == CORTEX) / np.count_nonzero(label_map.classes == WHITE)
    wanted = {"newborn": ("newborn_cortex", "cortex")}.get(phase, ("cortex", "newborn_cortex"))
    thin, thick = (synthesized_labels(label_map, phase, **{wanted[0]: (ratio, ratio), wanted[1]: (own, own)}) for ratio in (own, 1.5 * own))
    ratios = [np.count_nonzero(labels == GM.value) / np.count_nonzero(labels == WM.value) for labels in (thin, thick)]
    assert ratios[1] / ratios[0] == pytest.approx(1.5, rel=0.15)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_LABEL_MAPS.is_dir(), reason="the label maps of shared/data are not here")
def test_isointense_overlaps_cover_and_centre_on_the_measured_ones():
    label_map = read_label_map(SHARED_LABEL_MAPS / "adult" / "adult_17.nii.gz")
    simulator = Simulator([label_map])
    subjects = [simulator.subject(label_map, np.random.default_rng(seed), "isointense") for seed in range(8)]
    overlaps = np.array([measure.gm_wm_overlaps(synthesized) for synthesized in subjects])
    wanted = (0.70, 0.87, 0.615)
    assert (overlaps.min(0) < wanted).all()
    assert (overlaps.max(0) > wanted).all()
    assert np.abs(overlaps.mean(0) - wanted).max() < 0.1


def test_cortex_that_is_thinner_at_the_surface_is_so_and_thicker_in_the_depth():
    field = {"deep_cortex": (0.25, 0.25), "warp_mm": 0.0, "close_share": 0.0}
    label_map = folded_map()
    even, uneven = (synthesized_labels(label_map, "late", **ranges) for ranges in ({"warp_mm": 0.0}, field))
    depth = ndimage.distance_transform_edt(even > CSF.value)
    changes = []
    for low, high in ((1, 5), (12, 30)):
        shell = (depth >= low) & (depth < high) & (even > CSF.value) & (uneven > CSF.value)
        changes.append((uneven[shell] == WM.value).mean() - (even[shell] == WM.value).mean())
    assert changes[0] > 0.01
    assert changes[1] < 0.01


def test_cortex_changes_over_the_brain_when_asked_to():
    label_map = folded_map()
    even, uneven = (
        synthesized_labels(label_map, "late", warp_mm=0.0, uneven_cortex=(sd, sd), warp_scale_mm=(12.0, 12.0)) for sd in (0.0, 0.15)
    )
    differs = even != uneven
    assert 0.005 < differs[even > 0].mean() < 0.3


def test_the_wide_contrasts_reach_what_real_images_have_and_newborns_stay():
    config = ContrastConfig(wide_share=1.0, gain_variation=0.5, clusters=0.03, gradual=0.7)
    rng = np.random.default_rng(0)
    isointense, late, newborn = ([draw_contrast(rng, config, phase) for _ in range(200)] for phase in ("isointense", "late", "newborn"))
    assert max(c.t2.unmyelinated for c in isointense) > 1.1  # 7 % in front and more
    assert min(c.t2.csf for c in isointense) < 1.2 < 3 < max(c.t2.csf for c in isointense)
    assert min(c.t2.myelinated for c in late) < 0.56
    assert min(c.t2.csf for c in newborn) >= 1.35
    assert {c.t1.gradual > 0 for c in isointense} == {c.t1.clusters > 0 for c in isointense} == {True, False}


def test_the_narrow_contrasts_do_not_change_over_the_brain():
    contrast = draw_contrast(np.random.default_rng(0), phase="isointense")
    assert contrast.t1.gain_variation == contrast.t1.clusters == contrast.t1.gradual == 0


def test_a_gradual_border_lies_between_its_sides_and_leaves_the_depth_alone():
    fractions = torch.zeros(7, 40, 4, 4)
    fractions[CORTEX, :20], fractions[WHITE, 20:] = 1, 1
    ones = torch.ones(40, 4, 4)
    gm, wm = _gradual_border((ones, 1.2 * ones), fractions, 0.6, 1.0)
    assert 1.02 < float(gm[19, 2, 2]) < 1.1
    assert 1.1 < float(wm[20, 2, 2]) < 1.18
    assert float(gm[10, 2, 2]) == pytest.approx(1.0, abs=1e-4)
    assert float(wm[30, 2, 2]) == pytest.approx(1.2, abs=1e-4)


@pytest.mark.parametrize("name", list(SIMULATIONS))
def test_every_simulation_paints_a_patch_like_a_part_of_its_subjects(label_map, name):
    simulator = Simulator([label_map], SIMULATIONS[name])
    simulator.prepare()
    for seed in range(4):
        patch = simulator.patch(np.random.default_rng(seed), 32)
        assert torch.isfinite(patch.images).all()
        assert (patch.whole_brain[:, 1] > 0).all()


def folded_map():
    """A ball in cortex of 6 mm with blades of white matter below it."""
    size = 72
    x, y, z = np.indices((size,) * 3) - (size - 1) / 2
    radius = np.sqrt(x**2 + y**2 + z**2)
    classes = np.full(radius.shape, 0, np.uint8)
    classes[radius < 28] = CORTEX
    classes[(radius < 25) & ((np.round(x) % 8 < 4) | (radius < 12))] = WHITE
    zeros = np.zeros_like(classes)
    outside = np.clip((radius - 28) * 10, 0, 255).astype(np.uint8)
    return LabelMap("adult_folded", classes, outside, zeros, zeros)
