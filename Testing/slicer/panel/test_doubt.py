"""The doubt over the scan: made on demand of the probabilities, and taken off again."""

from itertools import chain, repeat

import mrml
import numpy as np
import pytest
import slicer
from InfantBrainSegSlicer.scene import doubt
from panel_driver import opened_panel

from InfantBrainSegLib.core.errors import InputError


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


@pytest.fixture
def view(scene):
    return scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")


@pytest.fixture
def result(panel, scans, view):
    """A result that gives CSF, GM and WM 0.1, 0.6 and 0.3 everywhere but in the first slice, which is background."""
    panel.ready(scans)
    panel.ui.probabilitiesCheckBox.click()
    run = panel.segment_to_the_end()
    for node, value in zip(run.probabilityNodes, chain((0.1, 0.6, 0.3), repeat(0.0)), strict=False):
        array = np.full(slicer.util.arrayFromVolume(node).shape, value, np.float32)
        array[0] = 0
        slicer.util.updateVolumeFromArray(node, array)
    return run.segmentationNode


def test_the_doubt_is_one_less_the_likeliest_tissue_in_colors_over_the_scan(panel, scans, view, result):
    panel.ui.doubtCheckBox.click()
    node = result.GetNodeReference(doubt.DOUBT_ROLE)
    assert (view.GetForegroundVolumeID(), view.GetForegroundOpacity()) == (node.GetID(), doubt.OPACITY)
    values = slicer.util.arrayFromVolume(node)
    assert np.allclose(values[1:], 0.4)
    assert (values[0] == 0).all()
    assert np.allclose(mrml.world_points_mm(node), mrml.world_points_mm(scans[0]))
    display = node.GetDisplayNode()
    assert display.GetColorNode().GetName() == doubt.COLORS
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax(), display.GetLowerThreshold()) == pytest.approx((0.2, 0.7, 0.2))
    assert display.GetApplyThreshold()
    assert not result.GetDisplayNode().GetVisibility2D()  # the tissues would cover it


def test_off_again_gives_back_what_was_laid_over_the_scan_and_adds_no_second_volume(panel, scans, view, result):
    view.SetForegroundVolumeID(scans[1].GetID())
    view.SetForegroundOpacity(0.3)
    panel.ui.doubtCheckBox.click()
    before = mrml.node_count()
    panel.ui.doubtCheckBox.click()
    assert (view.GetForegroundVolumeID(), view.GetForegroundOpacity()) == (scans[1].GetID(), 0.3)
    assert result.GetDisplayNode().GetVisibility2D()
    panel.ui.doubtCheckBox.click()
    panel.widget.enter()
    assert panel.ui.doubtCheckBox.checked
    assert mrml.node_count() == before


def test_without_probabilities_the_panel_says_how_to_get_them(panel, scans, view):
    panel.ready(scans)
    run = panel.segment_to_the_end()
    assert panel.ui.doubtCheckBox.visible
    assert not panel.ui.doubtCheckBox.enabled
    assert "Tick Probability volumes" in panel.ui.doubtCheckBox.toolTip
    with pytest.raises(InputError, match="no probability volumes"):
        doubt.show_doubt(run.segmentationNode)


def test_a_new_run_takes_the_doubt_of_the_old_result_off_and_forgets_its_probabilities(panel, view, result):
    panel.ui.doubtCheckBox.click()
    panel.ui.probabilitiesCheckBox.click()
    assert panel.segment_to_the_end().segmentationNode is result
    assert view.GetForegroundVolumeID() is None
    assert not panel.ui.doubtCheckBox.enabled


def test_another_result_is_shown_without_the_doubt_of_the_first(panel, view, result):
    panel.ui.doubtCheckBox.click()
    panel.ui.segmentationSelector.setCurrentNode(None)
    panel.segment_to_the_end()
    assert view.GetForegroundVolumeID() is None
    assert not panel.ui.doubtCheckBox.checked
    assert result.GetDisplayNode().GetVisibility2D()


def test_the_tissues_are_seen_again_when_they_are_to_be_edited(panel, view, result, monkeypatch):
    monkeypatch.setattr(slicer.util, "selectModule", lambda name: panel.frame.exit())
    panel.ui.doubtCheckBox.click()
    panel.ui.editButton.click()
    assert result.GetDisplayNode().GetVisibility2D()
    assert view.GetForegroundVolumeID() is None


def test_a_doubt_that_lies_over_the_scan_unasked_as_after_an_import_is_taken_off(panel, scans, view, result):
    volume = doubt.doubt_volume(result)
    view.SetForegroundVolumeID(volume.GetID())
    panel.widget.enter()
    assert panel.ui.doubtCheckBox.checked
    panel.ui.doubtCheckBox.click()
    assert view.GetForegroundVolumeID() is None
    panel.widget.enter()
    assert not panel.ui.doubtCheckBox.checked
    for shown in (volume.GetID(), None):
        panel.ui.doubtCheckBox.click()
        assert view.GetForegroundVolumeID() == shown
