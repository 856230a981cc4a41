"""T1, T2 and the age out of names and DICOM, and silence where they do not say it plainly."""

from types import SimpleNamespace

import mrml
import phantoms
import pytest
import slicer
from InfantBrainSegSlicer.scene.guess import guess_age_months, guess_scans, weighting_of


@pytest.fixture
def volume(scene):
    return lambda name: mrml.volume_node(phantoms.draw(phantoms.grid((10.0, 10.0, 10.0))), name)


@pytest.fixture
def dicom(monkeypatch):
    """A DICOM database that knows one file of each volume, by the volume's name."""
    values = {}

    def tell(node, **tags):
        node.SetAttribute("DICOM.instanceUIDs", f"1.2.{node.GetID()}")
        values[f"1.2.{node.GetID()}"] = {name[1:].replace("_", ","): value for name, value in tags.items()}

    database = SimpleNamespace(isOpen=True, instanceValue=lambda uid, tag: values[uid].get(tag, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return tell


@pytest.mark.parametrize(
    ("name", "weighting"),
    [
        ("T1", "T1"),
        ("sub-01_ses-2_T1w", "T1"),
        ("5: Ax T2 TSE", "T2"),
        ("t2w_1", "T2"),
        ("InfantSampleT1", ""),
        ("3: MPRAGE sag", "T1"),
        ("T2 FLAIR", ""),
        ("Ax T2* GRE", ""),
        ("T1 post Gd", ""),
        ("T2 map", ""),
        ("T1 probability GM", ""),
        ("T10 vertebra", ""),
        ("T1 to T2", ""),
        ("DWI b1000", ""),
        ("4: localizer", ""),
    ],
)
def test_a_name_tells_the_weighting_or_nothing(volume, name, weighting):
    assert weighting_of(volume(name)) == weighting


@pytest.mark.parametrize(
    ("tags", "weighting"),
    [
        ({"_0008_103e": "AX T2 BLADE"}, "T2"),
        ({"_0018_0081": "120", "_0018_0080": "5000"}, "T2"),
        ({"_0018_0081": "3.1", "_0018_0080": "2000", "_0018_0082": "900"}, "T1"),
        ({"_0018_0081": "9", "_0018_0080": "500"}, "T1"),
        ({"_0018_0081": "9", "_0018_0080": "4000"}, ""),
        ({"_0018_0081": "120", "_0018_0080": "9000", "_0018_0082": "2500"}, ""),
        ({}, ""),
    ],
)
def test_where_the_name_is_silent_series_description_and_timing_tell(volume, dicom, tags, weighting):
    node = volume("Series 7")
    dicom(node, **tags)
    assert weighting_of(node) == weighting


def test_only_a_plain_choice_is_made(volume, scene):
    assert guess_scans(scene).named() == {}
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1 without voxels")
    mrml.volume_node(phantoms.draw(phantoms.grid((10.0, 10.0, 10.0))), "T1 labels", "vtkMRMLLabelMapVolumeNode")
    t1, t2 = volume("T1"), volume("T2")
    assert (guess_scans(scene).t1, guess_scans(scene).t2) == (t1, t2)
    volume("T2 repeated")
    assert (guess_scans(scene).t1, guess_scans(scene).t2) == (t1, None)


def test_the_age_comes_from_birth_and_study_in_the_subject_hierarchy(volume):
    node = volume("T1")
    hierarchy = mrml.hierarchy_node()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Anna")
    study = hierarchy.CreateStudyItem(patient, "MRI")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    assert guess_age_months(node) is None
    hierarchy.SetItemAttribute(patient, "DICOM.PatientBirthDate", "20240110")
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", "20240710")
    assert guess_age_months(node) == 6.0
    hierarchy.SetItemAttribute(study, "DICOM.StudyDate", "20340710")
    assert guess_age_months(node) is None


@pytest.mark.parametrize(("text", "age"), [("006M", 6.0), ("012W", 2.8), ("001Y", 12.0), ("040Y", None), ("six", None)])
def test_the_age_may_be_written_in_the_files(volume, dicom, text, age):
    node = volume("T1")
    dicom(node, _0010_1010=text)
    assert guess_age_months(node) == age
