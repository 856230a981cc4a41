"""The panel's choices, kept in a node that is saved with the scene."""

import math

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

from ..scene.options import AUTO, OFF, SegmentParameters


@parameterNodeWrapper
class InfantBrainSegParameterNode:
    """What the panel shows; each name is also the `SlicerParameterName` of its widget in the .ui file.

    Attributes
    ----------
    t1Volume, t2Volume : vtkMRMLScalarVolumeNode
        One of them may be none.
    maskNode : vtkMRMLLabelMapVolumeNode or vtkMRMLSegmentationNode
        Brain mask; with none the cerebrum is found.
    outputSegmentation, labelmapNode, tableNode : nodes
        No segmentation or table: a new one is made. No labelmap: none is made.
    saveProbabilities, saveMask, useContext, secondRound, flip : bool
    ageMonths : str
        As it was typed; empty: unknown.
    extractCerebrum, alignT2 : bool
        Whether the cerebrum is taken out of whole heads, and T2 moved onto T1 where it lies elsewhere.
    biasCorrection : str
        "auto", "on" or "off"; its combo box is filled by hand, since it shows other words.
    device : str
        "auto", "cpu", "cuda:0", ...; its combo box is filled by hand, since GPUs are found while the panel is open.
    weightsPath : str
        Empty: the bundled weights.
    """

    t1Volume: vtkMRMLScalarVolumeNode
    t2Volume: vtkMRMLScalarVolumeNode
    maskNode: vtkMRMLLabelMapVolumeNode | vtkMRMLSegmentationNode | None = None
    outputSegmentation: vtkMRMLSegmentationNode
    labelmapNode: vtkMRMLLabelMapVolumeNode
    tableNode: vtkMRMLTableNode
    saveProbabilities: bool = False
    saveMask: bool = False
    ageMonths: str = ""
    extractCerebrum: bool = True
    alignT2: bool = True
    biasCorrection: str = AUTO
    device: str = "auto"
    weightsPath: str = ""
    useContext: bool = True
    secondRound: bool = True
    flip: bool = False


def segment_parameters(node: InfantBrainSegParameterNode) -> SegmentParameters:
    """Copy the panel's choices into the plain values that the logic takes."""
    return SegmentParameters(
        maskNode=node.maskNode,
        device=node.device,
        weightsPath=node.weightsPath.strip(),
        useContext=node.useContext,
        secondRound=node.secondRound,
        flip=node.flip,
        saveProbabilities=node.saveProbabilities,
        saveMask=node.saveMask,
        ageMonths=_age_months(node.ageMonths),
        extract=AUTO if node.extractCerebrum else OFF,
        align=AUTO if node.alignT2 else OFF,
        biasCorrection=node.biasCorrection,
    )


def _age_months(text: str) -> float | None:
    """Read an age; not a number where the text is none, which the checks refuse."""
    if not text.strip():
        return None
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan
