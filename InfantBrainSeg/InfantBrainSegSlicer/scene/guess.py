"""Which loaded volume is the T1, which the T2, and how old the child was: from names and DICOM, where they leave no doubt."""

import re
from datetime import datetime

import slicer

from .options import Scans

T1, T2 = "T1", "T2"
_NAMED = {
    T1: re.compile(r"(?<![a-z0-9])t1(?![0-9])|mp2?rage|(?<![a-z])(bravo|tfl|ir-?fspgr)(?![a-z])"),
    T2: re.compile(r"(?<![a-z0-9])t2(?![0-9])"),
}
_OTHER = re.compile(
    r"flair|t[12]\s*\*|t[12]([ _-]?(star|map))|"
    r"(?<![a-z])(swi|dwi|adc|dti|fmri|bold|asl|gd|gado\w*|post|seg\w*|mask|prob\w*|label\w*)(?![a-z])"
)
_LONG_ECHO_MS, _SHORT_ECHO_MS = 60.0, 20.0  # T2w spin echo: 60 to 450; T1w: 2 to 20
_SHORT_REPETITION_MS = 1000.0  # T1w spin echo and spoiled gradient echo
_T1_INVERSION_MS = (300.0, 1500.0)  # of MP-RAGE; FLAIR's is longer
_DAYS_IN_MONTH = 30.4375
_OLDEST_MONTHS = 36.0  # beyond that the age is of no use here, and more likely a scan of somebody else


def guess_scans(scene) -> Scans:
    """Pick T1 and T2 of a scene where the choice is plain: exactly one volume is called so, or was acquired so.

    Parameters
    ----------
    scene : vtkMRMLScene

    Returns
    -------
    Scans, with None where there is no candidate or more than one
    """
    found: dict[str, list] = {T1: [], T2: []}
    kind = "vtkMRMLScalarVolumeNode"
    for node in (scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))):
        weighting = weighting_of(node) if node.GetClassName() == kind and not node.GetHideFromEditors() and node.GetImageData() else ""
        if weighting:
            found[weighting].append(node)
    t1, t2 = (nodes[0] if len(nodes) == 1 else None for nodes in found.values())
    return Scans(t1, t2)


def weighting_of(node) -> str:
    """Tell how a volume is weighted: "T1", "T2", or "" where name, series description and timing do not say it plainly."""
    for text in (node.GetName() or "", _dicom(node, "0008,103e")):
        text = text.lower()
        if _OTHER.search(text):
            return ""
        named = [weighting for weighting, pattern in _NAMED.items() if pattern.search(text)]
        if named:
            return named[0] if len(named) == 1 else ""
    return _weighting_by_timing(*(_number(_dicom(node, tag)) for tag in ("0018,0081", "0018,0080", "0018,0082")))


def _weighting_by_timing(echo_ms: float, repetition_ms: float, inversion_ms: float) -> str:
    if echo_ms >= _LONG_ECHO_MS and not inversion_ms:
        return T2
    inverted = _T1_INVERSION_MS[0] <= inversion_ms <= _T1_INVERSION_MS[1]
    if 0 < echo_ms <= _SHORT_ECHO_MS and (inverted or (0 < repetition_ms <= _SHORT_REPETITION_MS and not inversion_ms)):
        return T1
    return ""


def guess_age_months(node) -> float | None:
    """Give the age from birth at the time of the scan, from DICOM: dates of birth and study, else the age that was written.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode

    Returns
    -------
    float, or None where it is not known or not an infant's
    """
    born, studied = (_date(of_patient(node, name) or _dicom(node, tag)) for name, tag in _DATES)
    age = _written_age(_dicom(node, "0010,1010"))
    if born is not None and studied is not None:
        age = (studied - born).days / _DAYS_IN_MONTH
    return round(age, 1) if age is not None and 0 <= age <= _OLDEST_MONTHS else None


_DATES = (("DICOM.PatientBirthDate", "0010,0030"), ("DICOM.StudyDate", "0008,0020"))  # in the subject hierarchy, in the files


def of_patient(node, attribute: str) -> str:
    """Read an attribute of the patient or study that a node lies under in the subject hierarchy; "" where there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    while item and item != hierarchy.GetSceneItemID():
        if hierarchy.GetItemAttribute(item, attribute):
            return hierarchy.GetItemAttribute(item, attribute)
        item = hierarchy.GetItemParent(item)
    return ""


def _dicom(node, tag: str) -> str:
    """Read a tag of the files that a node was loaded from, out of Slicer's DICOM database; "" where there is none."""
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not uids or not database.isOpen:
        return ""
    return (database.instanceValue(uids[0], tag) or "").strip()


def _written_age(text: str) -> float | None:
    """Read DICOM's age string, as "006M", in months."""
    found = re.fullmatch(r"(\d{3})([DWMY])", text)
    return int(found[1]) * {"D": 1 / _DAYS_IN_MONTH, "W": 7 / _DAYS_IN_MONTH, "M": 1.0, "Y": 12.0}[found[2]] if found else None


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text.replace("-", "")[:8], "%Y%m%d")
    except ValueError:
        return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
