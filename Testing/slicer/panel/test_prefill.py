"""The panel fills in what is plain and leaves alone what a user chose."""

import mrml
import phantoms
import pytest
import slicer
import vtk
from panel_driver import opened_panel


@pytest.fixture
def panel(scene, tmp_path, monkeypatch):
    with opened_panel(tmp_path / "temporary", monkeypatch) as panel:
        yield panel


def chosen(panel):
    return [selector.currentNode() for selector in (panel.ui.t1Selector, panel.ui.t2Selector)]


def born_and_scanned(node, born, scanned):
    hierarchy = mrml.hierarchy_node()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Anna")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientBirthDate", born)
    hierarchy.SetItemAttribute(patient, "DICOM.StudyDate", scanned)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), patient)


def test_a_plain_pair_is_chosen_when_it_is_loaded_or_the_panel_is_opened_and_what_was_cleared_stays_clear(panel, scans):
    panel.wait_for(lambda: chosen(panel) == list(scans))
    panel.ui.t1Selector.choose("Select a T1w scan")
    panel.frame.exit()
    panel.frame.enter()
    assert chosen(panel) == [None, scans[1]]


def test_what_the_user_chose_is_not_overridden(panel, scans):
    panel.ui.t1Selector.choose("T2")
    panel.frame.exit()
    panel.frame.enter()
    assert chosen(panel) == [scans[1], None]


def test_the_age_is_filled_in_from_dicom_and_a_typed_one_stays(panel, scans):
    born_and_scanned(scans[0], "20240110", "20240710")
    panel.ready(scans)
    assert panel.ui.ageLineEdit.text == "6"
    panel.ui.ageLineEdit.text = "5"
    other = mrml.volume_node(phantoms.draw(phantoms.grid((2.5, 2.5, 3.0)), phantoms.T1_LEVELS), "Other")
    born_and_scanned(other, "20240110", "20240410")
    panel.ui.t1Selector.choose("Other")
    assert panel.ui.ageLineEdit.text == "5"


def test_after_a_run_the_views_show_t1_the_whole_of_it(panel, scans, scene, monkeypatch):
    (view, *_), composite = mrml.slice_views(scene), scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", "Red")
    composite.SetLayoutName("Red")
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(scene.keep_alive[0])
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(view)
    logic.SetSliceCompositeNode(composite)
    logics = vtk.vtkCollection()
    logics.AddItem(logic)
    monkeypatch.setattr(type(slicer.app), "layoutManager", lambda _: type("Layout", (), {"mrmlSliceLogics": lambda _: logics})())
    view.SetDimensions(200, 200, 1)
    view.SetFieldOfView(5.0, 5.0, 1.0)
    panel.ready(scans)
    panel.segment_to_the_end()
    assert composite.GetBackgroundVolumeID() == scans[0].GetID()
    bounds = [0.0] * 6
    scans[0].GetRASBounds(bounds)
    assert min(view.GetFieldOfView()[:2]) >= min(bounds[1] - bounds[0], bounds[3] - bounds[2]) * 0.9
