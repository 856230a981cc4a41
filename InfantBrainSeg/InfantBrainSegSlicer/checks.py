"""Why a run can not start, node by node, and what to know before it starts. No torch, nothing slow but `warnings`."""

import json
from pathlib import Path

import numpy as np

from InfantBrainSegLib.errors import InfantBrainSegError, InputError
from InfantBrainSegLib.labels import TISSUES

from .nodes import BINARY_LABELMAP, array_of, ijk_to_ras, image_from_mask, image_from_volume, parent_to_world

_NOT_ONE_IMAGE = {  # a class before those it derives from
    "vtkMRMLStreamingVolumeNode": "a video stream",
    "vtkMRMLVectorVolumeNode": "a color or vector volume",
    "vtkMRMLDiffusionTensorVolumeNode": "a diffusion tensor volume",
    "vtkMRMLDiffusionWeightedVolumeNode": "a diffusion-weighted volume",
    "vtkMRMLTensorVolumeNode": "a tensor volume",
    "vtkMRMLSequenceNode": "a sequence of volumes",
}
MAX_SCALE_ERROR = 0.01  # of the volume; a rigid transform that was stored as text is far closer


def check_inputs(t1_node, t2_node, mask_node, weights_path: str, use_context: bool) -> None:
    """Check what was chosen, in the order a person fills in the panel.

    Parameters
    ----------
    t1_node, t2_node : vtkMRMLScalarVolumeNode or None
    mask_node : vtkMRMLLabelMapVolumeNode, vtkMRMLSegmentationNode or None
    weights_path : str
        A folder or one of its files; empty for the bundled weights.
    use_context : bool
        Both stages, so both weights files.

    Raises
    ------
    InputError
        Naming the node and the remedy.
    """
    _check_volume(t1_node, "T1")
    _check_volume(t2_node, "T2")
    if t1_node is t2_node:
        raise InputError(f"'{t1_node.GetName()}' is chosen as T1 and as T2; wanted two scans of one brain: choose the other one.")
    if mask_node is not None:
        _check_mask(mask_node)
    if weights_path:
        _check_weights(Path(weights_path), use_context)


def check_outputs(inputs: list, segmentation_node, labelmap_node, table_node) -> None:
    """Check that the outputs are of the right kind and overwrite no input.

    Parameters
    ----------
    inputs : list of vtkMRMLNode or None
        T1 first.
    segmentation_node, labelmap_node, table_node : vtkMRMLNode or None

    Raises
    ------
    InputError
    """
    kinds = (
        (segmentation_node, "vtkMRMLSegmentationNode", "segmentation"),
        (labelmap_node, "vtkMRMLLabelMapVolumeNode", "label map"),
        (table_node, "vtkMRMLTableNode", "table"),
    )
    for node, kind, name in kinds:
        if node is None:
            continue
        if not node.IsA(kind):
            raise InputError(f"The output '{node.GetName()}' is a {node.GetNodeTagName()}; wanted a {name}: choose another node.")
        if node.GetScene() is None:
            raise InputError(f"The output '{node.GetName()}' is not in the scene; wanted a {name} in it: add it first, or choose another.")
        if any(node is given for given in inputs):
            raise InputError(f"'{node.GetName()}' is input and output at once; wanted its content kept: choose another output.")
    if segmentation_node is None:
        return
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise InputError(
            f"The output '{segmentation_node.GetName()}' holds {segmentation.GetSourceRepresentationName().lower()} segments; "
            "wanted an empty or a labelmap segmentation: choose a new one."
        )

    t1_node = inputs[0]
    ours = {tissue.short_name for tissue in TISSUES}
    others = set(segmentation.GetSegmentIDs()) - ours
    if others and segmentation_node.GetTransformNodeID() != t1_node.GetTransformNodeID():
        raise InputError(
            f"The output '{segmentation_node.GetName()}' holds other segments under another transform than T1's; "
            "wanted them to stay in place: choose a new segmentation."
        )


def find_warnings(t1_node, t2_node, mask_node=None) -> tuple[str, ...]:
    """Run the library's checks of the images; takes about a second.

    Parameters
    ----------
    t1_node, t2_node : vtkMRMLScalarVolumeNode
    mask_node : vtkMRMLNode, optional

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        If the images can not be used, with the nodes' names.
    """
    from InfantBrainSegLib.checks import new_warnings
    from InfantBrainSegLib.gatekeeper import quick_checks  # scipy comes with it: not at Slicer's start
    from InfantBrainSegLib.prepare import pair_scans

    mask = None if mask_node is None else image_from_mask(mask_node, t1_node)
    t1, t2 = image_from_volume(t1_node), image_from_volume(t2_node)
    try:
        pair = pair_scans(t1, t2, mask)
    except InfantBrainSegError as error:
        raise InputError(f"{error} (T1 is '{t1_node.GetName()}', T2 is '{t2_node.GetName()}'.)") from error
    return (*pair.warnings, *new_warnings(quick_checks(t1, t2, pair)), *scale_warning(t1_node))


def scale_warning(t1_node) -> list[str]:
    """Warn of a parent transform that changes volumes: the table is of T1's own space, as in Slicer's Segment Statistics."""
    scale = abs(np.linalg.det(parent_to_world(t1_node)[:3, :3]))
    if abs(scale - 1) <= MAX_SCALE_ERROR:
        return []
    return [
        f"The transform of T1 '{t1_node.GetName()}' scales volumes by {scale:.3g}; the table gives the volumes before that transform: "
        "harden it on T1 if it mends a wrong voxel size."
    ]


def _check_volume(node, role: str) -> None:
    if node is None:
        raise InputError(f"No {role} volume is chosen: choose the {role}-weighted scan.")
    name = f"{role} '{node.GetName()}'"
    kind = next((text for class_name, text in _NOT_ONE_IMAGE.items() if node.IsA(class_name)), None)
    if kind is not None:
        raise InputError(f"{name} is {kind}; wanted one grayscale 3D volume: choose another, or convert it to a scalar volume first.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name} is a label map; wanted the {role}-weighted scan: choose the gray image it was drawn on.")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name} is a {node.GetNodeTagName()}; wanted the {role}-weighted volume: choose another node.")
    _check_voxels(node, name)
    parent_to_world(node)


def _check_voxels(node, name: str) -> None:
    if node.GetScene() is None:
        raise InputError(f"{name} is not in the scene; wanted a loaded volume: load it again.")
    data = node.GetImageData()
    if data is None or data.GetPointData().GetScalars() is None or data.GetNumberOfPoints() == 0:
        raise InputError(f"{name} has no image data; wanted a loaded volume: load it again, or choose another.")
    components = data.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(f"{name} has {components} values in each voxel; wanted one: convert it to a grayscale volume first.")
    size = data.GetDimensions()
    if min(size) < 2:
        raise InputError(f"{name} is {'×'.join(map(str, size))} voxels, a single slice; wanted the whole scan: choose the 3D volume.")
    matrix = ijk_to_ras(node)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:  # mm³ of a voxel
        spacing = "×".join(f"{value:g}" for value in np.linalg.norm(matrix[:3, :3], axis=0))
        raise InputError(
            f"{name} has no usable geometry (voxels of {spacing} mm); wanted three distinct axes with finite spacing: "
            "mend them in the Volumes module, or load the scan from its original files."
        )


def _check_mask(node) -> None:
    name = f"The brain mask '{node.GetName()}'"
    if node.IsA("vtkMRMLSegmentationNode"):
        if node.GetScene() is None or node.GetSegmentation().GetNumberOfSegments() == 0:
            raise InputError(f"{name} has no segments; wanted one that covers the brain: choose another, or none.")
    elif node.IsA("vtkMRMLLabelMapVolumeNode"):
        _check_voxels(node, name)
        if not array_of(node.GetImageData()).any():
            raise InputError(f"{name} is empty; wanted voxels above 0 in the brain: choose another, or none.")
    else:
        raise InputError(f"{name} is a {node.GetNodeTagName()}; wanted a segmentation or a label map: convert it first.")
    parent_to_world(node)


def _check_weights(path: Path, use_context: bool) -> None:
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise InputError(f"The weights {path} do not exist; wanted a folder with fcn1.pt, fcn2.pt and manifest.json: check the path.")
    wanted = ["manifest.json", "fcn1.pt", *(["fcn2.pt"] if use_context else [])]
    missing = [name for name in wanted if not (folder / name).is_file()]
    if path.is_file() and path.name not in ("fcn1.pt", "fcn2.pt", "manifest.json"):
        raise InputError(f"{path.name} is no weights file of ours; wanted fcn1.pt or fcn2.pt beside a manifest.json: choose another.")
    if missing:
        raise InputError(f"The weights folder {folder} lacks {' and '.join(missing)}; wanted {', '.join(wanted)}: choose another folder.")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        listed = {name: manifest[name]["bytes"] for name in wanted[1:]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'manifest.json'} does not list {' and '.join(wanted[1:])}: choose weights made by this program."
        ) from error
    for name, size in listed.items():
        if (folder / name).stat().st_size != size:
            raise InputError(f"{folder / name} is damaged (its size is not the manifest's): copy the weights again, or choose others.")
