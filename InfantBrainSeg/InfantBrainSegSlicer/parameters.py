"""The panel's choices, kept in a node that is saved with the scene."""

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

from .logic import SegmentParameters


@parameterNodeWrapper
class InfantBrainSegParameterNode:
    """What the panel shows; each name is also the `SlicerParameterName` of its widget in the .ui file.

    Attributes
    ----------
    t1Volume, t2Volume : vtkMRMLScalarVolumeNode
    maskNode : vtkMRMLLabelMapVolumeNode or vtkMRMLSegmentationNode
        Brain mask; none when the skull is already removed.
    outputSegmentation, labelmapNode, tableNode : nodes
        No segmentation or table: a new one is made. No labelmap: none is made.
    saveProbabilities, useContext, flip : bool
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
    device: str = "auto"
    weightsPath: str = ""
    useContext: bool = True
    flip: bool = False


def segment_parameters(node: InfantBrainSegParameterNode) -> SegmentParameters:
    """Copy the panel's choices into the plain values that the logic takes."""
    return SegmentParameters(
        maskNode=node.maskNode,
        device=node.device,
        weightsPath=node.weightsPath.strip(),
        useContext=node.useContext,
        flip=node.flip,
        saveProbabilities=node.saveProbabilities,
    )
