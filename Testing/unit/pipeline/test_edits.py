import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from phantoms import CSF, GM, WM
from stand_ins import of_arrays

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.imaging.files import index_to_physical
from InfantBrainSegLib.imaging.resample import on_grid_of
from InfantBrainSegLib.networks import predictor as runner_module
from InfantBrainSegLib.pipeline.edits import KeptThere, RefineConfig
from InfantBrainSegLib.pipeline.report import Report
from InfantBrainSegLib.pipeline.segmenter import Edits, SegmentOptions, segment

GRIDS = {
    "LPS": phantoms.grid(),
    "permuted": phantoms.grid(direction=phantoms.PERMUTED),
    "oblique": phantoms.grid((0.9, 1.2, 1.4), phantoms.OBLIQUE),
    "oblique, axes exchanged and flipped": phantoms.grid((1.3, 1.0, 1.1), phantoms.OBLIQUE @ phantoms.PERMUTED @ phantoms.RAS),
    "sheared": phantoms.grid((1.2, 1.0, 1.5), phantoms.SHEARED),
}


def scans_on(grid):
    return phantoms.draw(grid, phantoms.T1_LEVELS), phantoms.draw(grid, phantoms.T2_LEVELS)


def painted(labels, middle_mm=(6, 30, 4), radius_mm=6.0, tissue=WM):
    """The labels with a ball of one tissue painted over the brain, at a RAS position that is none of its mirror images."""
    inside = np.linalg.norm(phantoms.points_mm(labels) - np.asarray(middle_mm, float), axis=-1) <= radius_mm
    values = sitk.GetArrayFromImage(labels)
    values[inside & (values > 0)] = tissue
    return on_grid_of(labels, values)


def array(image):
    return sitk.GetArrayFromImage(image)


@pytest.fixture
def seen(monkeypatch):
    """In place of both networks: noise, another one in each run; what they were given."""
    inputs_seen = []

    def noise(network, inputs, mask, config, device, progress=None):
        inputs_seen.append(inputs)
        values = np.random.default_rng(len(inputs_seen)).random((4, *mask.shape), np.float32)
        values[0] = 0
        return values / values.sum(0)

    monkeypatch.setattr(runner_module, "predict", of_arrays(noise))
    return inputs_seen


@pytest.fixture
def options(weights_dir):
    return SegmentOptions("cpu", weights_dir, extract="off")


@pytest.mark.parametrize("name", GRIDS)
def test_edited_voxels_keep_their_labels_far_ones_stay_and_those_between_follow(name, options, seen):
    grid = GRIDS[name]
    automatic = phantoms.draw(grid)
    edited = painted(automatic)
    result = segment(*scans_on(grid), options=options, edits=Edits(edited, automatic))
    assert np.array_equal(index_to_physical(result.labels), index_to_physical(grid))
    after, mine, before = array(result.labels), array(edited), array(automatic)
    fixed = mine != before
    assert fixed.sum() > 100
    assert np.array_equal(after[fixed], mine[fixed])
    points = phantoms.points_mm(grid)
    slack_mm = 1.0 if name == "sheared" else 0.1  # the reach is measured along the voxels' edges
    beyond = np.linalg.norm(points - np.array([6, 30, 4]), axis=-1) > 6 + 5 + slack_mm  # the ball, and how far its surroundings reach
    assert np.array_equal(after[beyond], before[beyond])
    changed = after != mine
    assert changed.sum() > 100
    told = result.report.edits
    assert (told["fixed_voxels"], told["changed_voxels"], told["automatic_labels"]) == (fixed.sum(), changed.sum(), "given")


def test_the_first_stage_is_skipped_and_the_second_sees_distances_to_the_edited_labels(options, seen):
    grid = GRIDS["LPS"]
    automatic = phantoms.draw(grid)
    edited = painted(automatic)
    result = segment(*scans_on(grid), options=options, edits=Edits(edited, automatic))
    assert [len(inputs) for inputs in seen] == [5, 5]
    assert "stage 1" not in result.report.seconds
    space = result._prepared.space
    wanted = space.labels_from_scan(edited)
    for value in (CSF, GM, WM):
        assert np.array_equal(seen[0][1 + value] < 0, wanted == value)
    straight = seen[1][:, ::-1]  # the second round is on the mirrored brain
    assert np.array_equal(straight[:2], seen[0][:2])
    fixed = wanted != space.labels_from_scan(automatic)
    assert (straight[1 + WM][fixed] < 0).all()
    assert not np.array_equal(straight[2:], seen[0][2:])


def test_the_automatic_result_is_computed_again_where_it_is_not_given(weights_dir, phantom_scans, monkeypatch):
    def levels(network, inputs, mask, config, device, progress=None):
        """GM, or WM where T1 is bright: the same in every run."""
        white = inputs[0] > 0.8
        probabilities = np.stack([0 * white, 0 * white + 0.1, np.where(white, 0.3, 0.6), np.where(white, 0.6, 0.3)])
        return probabilities.astype(np.float32)

    monkeypatch.setattr(runner_module, "predict", of_arrays(levels))
    options = SegmentOptions("cpu", weights_dir, extract="off")
    first = segment(*phantom_scans, options=options)
    edited = painted(first.labels, middle_mm=(-15, 10, 5), tissue=CSF)
    result = segment(*phantom_scans, options=options, edits=Edits(edited))
    told = result.report.edits
    assert told["fixed_voxels"] == (array(edited) != array(first.labels)).sum()
    assert told["automatic_labels"] == "computed again"
    assert {"stage 1", "stage 2, round 2", "refine"} <= set(result.report.seconds)
    fixed = array(edited) != array(first.labels)
    assert (array(result.labels)[fixed] == CSF).all()
    given = segment(*phantom_scans, options=options, edits=Edits(edited, first.labels))
    assert np.array_equal(array(given.labels), array(result.labels))


def test_what_is_erased_or_painted_outside_the_brain_stays_so(options, seen):
    grid = GRIDS["oblique"]
    automatic = phantoms.draw(grid)
    values = array(automatic)
    values[values == CSF] = 0
    points = phantoms.points_mm(grid)
    outside = np.linalg.norm(points - np.array([0, 46, 0]), axis=-1) < 3
    values[outside] = GM
    edited = on_grid_of(automatic, values)
    after = array(segment(*scans_on(grid), options=options, edits=Edits(edited, automatic)).labels)
    fixed = values != array(automatic)
    assert (fixed & outside).any()
    assert np.array_equal(after[fixed], values[fixed])


def test_labels_in_isegs_numbers_mean_the_same(options, seen):
    grid = GRIDS["LPS"]
    automatic = phantoms.draw(grid)
    edited = painted(automatic)
    in_iseg = on_grid_of(edited, np.array([0, 10, 150, 250], np.uint8)[array(edited)])
    plain = segment(*scans_on(grid), options=options, edits=Edits(edited, automatic))
    seen.clear()
    assert np.array_equal(array(segment(*scans_on(grid), options=options, edits=Edits(in_iseg, automatic)).labels), array(plain.labels))


def test_t2_alone_is_edited_on_its_own_grid(options, seen):
    grid = GRIDS["permuted"]
    automatic = phantoms.draw(grid)
    edited = painted(automatic)
    result = segment(None, phantoms.draw(grid, phantoms.T2_LEVELS), options=options, edits=Edits(edited, automatic))
    fixed = array(edited) != array(automatic)
    assert (array(result.labels)[fixed] == WM).all()


def moved(labels):
    other = sitk.Image(labels)
    other.SetOrigin(np.add(labels.GetOrigin(), (0, 0.5, 0)).tolist())
    return other


REFUSED = {
    "another place": (moved, "The edited labelmap lies on another grid"),
    "fewer voxels": (lambda labels: labels[:-1], "The edited labelmap lies on another grid"),
    "values of something else": (lambda labels: labels * 17, "The edited labelmap holds the values 0, 17, 34, 51; wanted"),
    "nothing": (lambda labels: labels * 0, "The edited labelmap is empty"),
    "no edit": (lambda labels: labels, "No voxel of the edited labelmap differs"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_edited_labelmap_that_cannot_be_used_is_refused(kind, options, seen):
    change, said = REFUSED[kind]
    grid = GRIDS["LPS"]
    automatic = phantoms.draw(grid)
    with pytest.raises(InputError, match=said):
        segment(*scans_on(grid), options=options, edits=Edits(change(automatic), automatic))
    assert not seen


def test_an_automatic_labelmap_of_another_grid_is_refused(options, seen):
    grid = GRIDS["LPS"]
    labels = phantoms.draw(grid)
    with pytest.raises(InputError, match="The automatic labelmap lies on another grid"):
        segment(*scans_on(grid), options=options, edits=Edits(labels, moved(labels)))


def test_edits_without_the_second_stage_are_refused(weights_dir):
    grid = GRIDS["LPS"]
    labels = phantoms.draw(grid)
    with pytest.raises(InputError, match="second stage"):
        segment(*scans_on(grid), options=SegmentOptions("cpu", weights_dir, use_context=False), edits=Edits(labels, labels))


def test_more_differences_than_a_hand_makes_are_warned_of(options, seen):
    grid = GRIDS["LPS"]
    automatic = phantoms.draw(grid)
    little = segment(*scans_on(grid), options=options, edits=Edits(painted(automatic), automatic))
    much = segment(*scans_on(grid), options=options, edits=Edits(painted(automatic, (0, 0, 0), 30), automatic))
    assert not any("count as edited" in note for note in little.report.notes)
    assert any("count as edited" in note for note in much.report.notes)


def test_a_report_keeps_what_it_says_of_edits(options, seen):
    grid = GRIDS["LPS"]
    automatic = phantoms.draw(grid)
    report = segment(*scans_on(grid), options=options, edits=Edits(painted(automatic), automatic)).report
    assert Report.from_json(report.to_json()).edits == report.edits
    assert report.edits["fixed_ml"] == pytest.approx(report.edits["fixed_voxels"] / 1000, abs=1e-3)
    plain = segment(*scans_on(grid), options=options).report
    assert plain.edits is None
    assert "edits" not in plain.to_json()


def in_a_row(edited):
    """A row of 21 voxels, 0.6 GM and 0.4 WM; a person made the middle one WM."""
    shape = (21, 1, 1)
    labels = np.full(shape, GM, np.uint8)
    labels[10] = WM if edited else GM
    probabilities = np.zeros((4, *shape), np.float32)
    probabilities[GM], probabilities[WM] = 0.6, 0.4
    painted = np.zeros((4, *shape), np.float32)
    painted[WM, 10] = edited
    return KeptThere(labels, labels == WM, labels != WM, painted), probabilities


def test_what_the_network_missed_in_a_stroke_pulls_the_slices_beside_it_and_fades_with_the_distance():
    kept, probabilities = in_a_row(edited=True)
    pulled = kept.pulled(probabilities, RefineConfig(spread_mm=1.5, pull=10.0))
    assert np.allclose(pulled.sum(0), 1, atol=1e-6)
    white = pulled[WM, :, 0, 0]
    assert (np.diff(white[:11]) >= 0).all()
    assert np.allclose(white, white[::-1])
    assert white[9] > 0.5 > white[1]
    share = np.exp(-0.5 * (1 / 1.5) ** 2) / np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2).sum()  # of the stroke, in its neighbour
    odds = np.log(white[9] / pulled[GM, 9, 0, 0]) - np.log(0.4 / 0.6)
    assert odds == pytest.approx(10 * share * (0.6 + 0.6), rel=1e-3)  # WM missed 0.6 there, and GM had 0.6 too much


def test_without_pull_or_edits_probabilities_stay():
    for kept, probabilities, config in (
        (*in_a_row(edited=True), RefineConfig(pull=0.0)),
        (*in_a_row(edited=False), RefineConfig()),
    ):
        assert np.allclose(kept.pulled(probabilities, config), probabilities, atol=1e-3)


def unsure(network, inputs, mask, config, device, progress=None):
    """In place of a network: a little more GM than WM everywhere."""
    return np.broadcast_to(np.float32([0.05, 0.1, 0.45, 0.4])[:, None, None, None], (4, *mask.shape))


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["permuted", "oblique, axes exchanged and flipped"])
def test_a_stroke_in_one_slice_spreads_to_the_slices_beside_it_and_not_inside_its_own(name, axis, weights_dir, monkeypatch):
    monkeypatch.setattr(runner_module, "predict", of_arrays(unsure))
    grid = GRIDS[name]
    brain = array(phantoms.draw(grid)) > 0
    automatic = on_grid_of(grid, np.where(brain, GM, 0).astype(np.uint8))
    place = [length // 2 for length in brain.shape]
    stroke = [slice(index - 4, index + 5) for index in place]
    stroke[axis] = place[axis]
    values = array(automatic)
    values[tuple(stroke)] = WM
    options = SegmentOptions("cpu", weights_dir, extract="off")
    edits = Edits(on_grid_of(grid, values), automatic)
    after = array(segment(*scans_on(grid), options=options, edits=edits).labels)
    gained = (after == WM) & (values != WM)
    own = np.take(gained, place[axis], axis)
    beside = [np.take(gained, place[axis] + step, axis) for step in (-1, 1)]
    assert not own.any()
    assert all(part.sum() >= 49 for part in beside)
    thick = np.maximum(values, np.roll(values, 1, axis))  # the same stroke in two slices is no stroke in one
    two_slices = Edits(on_grid_of(grid, thick), automatic)
    again = array(segment(*scans_on(grid), options=options, edits=two_slices).labels)
    assert (again != thick).sum() < (0.5 if name.startswith("oblique") else 0.01) * gained.sum()  # the rim of the stroke on the grid's way
