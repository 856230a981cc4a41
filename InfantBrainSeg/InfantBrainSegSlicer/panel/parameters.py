"""The panel's choices, kept in a node that is saved with the scene."""

import math
from dataclasses import fields

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

from ..scene.options import AUTO, OFF, SegmentParameters

SHOWN_OTHERWISE = ("ageMonths", "extract", "align")  # a text and two check boxes below stand for them


def _with_choices(cls: type) -> type:
    """Give a class one more field for each choice of `SegmentParameters` that is shown as it is."""
    for choice in fields(SegmentParameters):
        if choice.name not in SHOWN_OTHERWISE and choice.name not in cls.__annotations__:
            cls.__annotations__[choice.name] = choice.type
            setattr(cls, choice.name, choice.default)
    return cls


@parameterNodeWrapper
@_with_choices
class InfantBrainSegParameterNode:
    """What the panel shows; each name is also the `SlicerParameterName` of its widget in the .ui file.

    Beside these there is each choice of `SegmentParameters` that is shown as it is. The combo boxes of `biasCorrection`, which shows other
    words, and of `device`, since GPUs are found while the panel is open, are filled by hand.

    Attributes
    ----------
    t1Volume, t2Volume : vtkMRMLScalarVolumeNode
        One of them may be none.
    maskNode : vtkMRMLLabelMapVolumeNode or vtkMRMLSegmentationNode
        Brain mask; with none the cerebrum is found.
    outputSegmentation, labelmapNode, tableNode : nodes
        No segmentation or table: a new one is made. No labelmap: none is made.
    earlierResult : vtkMRMLSegmentationNode
        Of the same child, to compare with.
    saveProbabilities, saveMask : bool
    ageMonths : str
        As it was typed; empty: unknown.
    extractCerebrum, alignT2 : bool
        Whether the cerebrum is taken out of whole heads, and T2 moved onto T1 where it lies elsewhere.
    """

    t1Volume: vtkMRMLScalarVolumeNode
    t2Volume: vtkMRMLScalarVolumeNode
    maskNode: vtkMRMLLabelMapVolumeNode | vtkMRMLSegmentationNode | None = None
    outputSegmentation: vtkMRMLSegmentationNode
    labelmapNode: vtkMRMLLabelMapVolumeNode
    tableNode: vtkMRMLTableNode
    earlierResult: vtkMRMLSegmentationNode
    saveProbabilities: bool = False
    saveMask: bool = False
    ageMonths: str = ""
    extractCerebrum: bool = True
    alignT2: bool = True


def segment_parameters(node: InfantBrainSegParameterNode) -> SegmentParameters:
    """Copy the panel's choices into the plain values that the logic takes."""
    shown = {choice.name: getattr(node, choice.name) for choice in fields(SegmentParameters) if choice.name not in SHOWN_OTHERWISE}
    return SegmentParameters(
        **{name: value.strip() if isinstance(value, str) else value for name, value in shown.items()},
        ageMonths=_age_months(node.ageMonths),
        extract=AUTO if node.extractCerebrum else OFF,
        align=AUTO if node.alignT2 else OFF,
    )


def _age_months(text: str) -> float | None:
    """Read an age; not a number where the text is none, which the checks refuse."""
    if not text.strip():
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan
