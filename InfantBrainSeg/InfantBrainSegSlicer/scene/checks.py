"""Why a run cannot start, node by node, and what to know before it starts. No torch, nothing slow but `look_quickly`."""

import json
from dataclasses import dataclass
from pathlib import Path

import slicer

from InfantBrainSegLib.core.check import Check, CheckCode, warnings_of
from InfantBrainSegLib.core.contract import MANIFEST, STAGES, weights_file
from InfantBrainSegLib.core.errors import ErrorCode, InfantBrainSegError, InputError
from InfantBrainSegLib.core.labels import TISSUES

from .nodes import BINARY_LABELMAP, array_of, ijk_to_ras, image_from_mask, image_from_volume, parent_to_world
from .options import AUTO, Scans, SegmentParameters

_NOT_ONE_IMAGE = {  # a class before those it derives from
    "vtkMRMLStreamingVolumeNode": "a video stream",
    "vtkMRMLVectorVolumeNode": "a color or vector volume",
    "vtkMRMLDiffusionTensorVolumeNode": "a diffusion tensor volume",
    "vtkMRMLDiffusionWeightedVolumeNode": "a diffusion-weighted volume",
    "vtkMRMLTensorVolumeNode": "a tensor volume",
    "vtkMRMLSequenceNode": "a sequence of volumes",
}
_NEED_THE_BRAIN = (CheckCode.SKULL, CheckCode.FIELD_OF_VIEW)
_ALIGNMENT_MENDS = (ErrorCode.SCANS_APART, ErrorCode.SMALL_BRAIN)
BRING_TOGETHER = "If they are of one brain, bring them together with Center volume in the module Volumes, or move one in Transforms."
MAX_SCALE_ERROR = 0.01  # of the volume; a rigid transform that was stored as text is far closer


@dataclass(frozen=True)
class Findings:
    """What a quick look at the images found.

    Attributes
    ----------
    checks : tuple of Check
        For the table.
    failed : tuple of Check
        Those of them that do not pass.
    notes : tuple of str
        Warnings that no check gives.
    whole_head : bool
        Whether the cerebrum will have to be found first.
    """

    checks: tuple[Check, ...] = ()
    failed: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    whole_head: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before a run."""
        return (*self.notes, *warnings_of(self.failed))

    @property
    def swapped(self) -> bool:
        """Whether T1 looks like a T2 and T2 like a T1."""
        return any(check.code == CheckCode.CONTRASTS for check in self.failed)


def check_inputs(scans: Scans, parameters: SegmentParameters) -> None:
    """Check what was chosen, in the order a person fills in the panel.

    Raises
    ------
    InputError
        Naming the node and the remedy.
    """
    if scans.main is None:
        raise InputError("No scan is chosen: choose the T1-weighted and the T2-weighted scan, or at least one of them.")
    for name, node in scans.named().items():
        _check_is_node(node, name)
    for node, role in ((scans.t1, "T1"), (scans.t2, "T2")):
        if node is not None:
            _check_volume(node, role)
    if scans.t1 is scans.t2:
        raise InputError(f"'{scans.t1.GetName()}' is chosen as T1 and as T2; wanted two scans of one brain: choose the other one.")
    if scans.mask is not None:
        _check_mask(scans.mask)
    parameters.check()
    if parameters.weightsPath:
        _check_weights(Path(parameters.weightsPath), parameters.useContext)


def check_outputs(scans: Scans, segmentation_node, labelmap_node, table_node) -> None:
    """Check that the outputs are of the right kind and overwrite no input.

    Parameters
    ----------
    scans : Scans
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
        _check_is_node(node, f"The output {name}")
        if not node.IsA(kind):
            raise InputError(f"The output '{node.GetName()}' is a {node.GetNodeTagName()}; wanted a {name}: choose another node.")
        if node.GetScene() is None:
            raise InputError(f"The output '{node.GetName()}' is not in the scene; wanted a {name} in it: add it first, or choose another.")
        if any(node is given for given in scans.named().values()):
            raise InputError(f"'{node.GetName()}' is input and output at once; wanted its content kept: choose another output.")
    if segmentation_node is None:
        return
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() and segmentation.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise InputError(
            f"The output '{segmentation_node.GetName()}' holds {segmentation.GetSourceRepresentationName().lower()} segments; "
            "wanted an empty or a labelmap segmentation: choose a new one."
        )

    ours = {tissue.short_name for tissue in TISSUES}
    others = set(segmentation.GetSegmentIDs()) - ours
    if others and segmentation_node.GetTransformNodeID() != scans.main.GetTransformNodeID():
        raise InputError(
            f"The output '{segmentation_node.GetName()}' holds other segments under another transform than the scan's; "
            "wanted them to stay in place: choose a new segmentation."
        )


def look_quickly(scans: Scans, parameters: SegmentParameters) -> Findings:
    """Run those of the library's checks that take about a second.

    Raises
    ------
    InputError
        If the images cannot be used, with the nodes' names.
    """
    from InfantBrainSegLib.checks import input_checks
    from InfantBrainSegLib.preparation import normalisation as prepare  # scipy comes with them: not at Slicer's start

    mask = None if scans.mask is None else image_from_mask(scans.mask, scans.main)
    t1, t2 = (None if node is None else image_from_volume(node) for node in (scans.t1, scans.t2))
    apart: tuple[str, ...] = ()
    chosen = ", ".join(f"{role} is '{node.GetName()}'" for role, node in (("T1", scans.t1), ("T2", scans.t2)) if node is not None)
    try:
        pair = prepare.pair_scans(t1, t2, mask)
    except InfantBrainSegError as error:
        if parameters.align != AUTO or t1 is None or t2 is None or error.code not in _ALIGNMENT_MENDS:
            mend = f" {BRING_TOGETHER}" if error.code == ErrorCode.SCANS_APART else ""
            raise InputError(f"{error} ({chosen}.){mend}", error.code) from error
        apart = (f"{error} ({chosen}.) That is by their headers: the run will first try to align T2 to T1. {BRING_TOGETHER}",)
        pair = prepare.pair_scans(t1, None, mask)
    of_pair = () if apart else tuple(check for check in pair.checks if not check.passes)
    checks = (*of_pair, *input_checks.quick_checks(t1, t2, pair))
    failed = [check for check in checks if not check.passes]
    whole_head = parameters.extract == AUTO and mask is None and any(check.code == CheckCode.SKULL for check in failed)
    if whole_head:  # what needs the brain waits until the run has found it
        checks = tuple(check for check in checks if check.code not in _NEED_THE_BRAIN)
        failed = [check for check in failed if check.code not in _NEED_THE_BRAIN]
    return Findings(checks, tuple(failed), (*apart, *scale_warning(scans), *frame_notes(scans)), whole_head)


def frame_notes(scans: Scans) -> list[str]:
    """Say where a scan is the frame of a sequence that its browser shows now: that frame alone is segmented."""
    scene, kind = scans.main.GetScene(), "vtkMRMLSequenceBrowserNode"
    browsers = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
    return [
        f"{role} '{node.GetName()}' shows one frame of the sequence '{sequence.GetName()}': that frame alone is segmented. "
        f"Choose it in '{browser.GetName()}' first."
        for role, node in scans.named().items()
        for browser in browsers
        if (sequence := browser.GetSequenceNode(node)) is not None
    ]


def scale_warning(scans: Scans) -> list[str]:
    """Warn of a parent transform that changes volumes: the table is of the scan's own space, as in Slicer's Segment Statistics."""
    import numpy as np

    node, role = scans.main, "T2" if scans.t1 is None else "T1"
    scale = abs(np.linalg.det(parent_to_world(node)[:3, :3]))
    if abs(scale - 1) <= MAX_SCALE_ERROR:
        return []
    return [
        f"The transform of {role} '{node.GetName()}' scales volumes by {scale:.3g}; the table gives the volumes before that transform: "
        f"harden it on {role} if it mends a wrong voxel size."
    ]


def _check_is_node(given, name: str) -> None:
    if not isinstance(given, slicer.vtkMRMLNode):
        raise InputError(f"{name} is {given!r}; wanted a node of the scene: give one, for example slicer.util.getNode('T1').")


def _check_volume(node, role: str) -> None:
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
    import numpy as np

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
    names = [weights_file(stage) for stage in STAGES]
    if not path.exists():
        raise InputError(f"The weights {path} do not exist; wanted a folder with {', '.join(names)} and {MANIFEST}: check the path.")
    files = names if use_context else names[:1]
    missing = [name for name in (MANIFEST, *files) if not (folder / name).is_file()]
    if path.is_file() and path.name not in (*names, MANIFEST):
        raise InputError(f"{path.name} is no weights file of ours; wanted {' or '.join(names)} beside a {MANIFEST}: choose another.")
    if missing:
        wanted = ", ".join((MANIFEST, *files))
        raise InputError(f"The weights folder {folder} lacks {' and '.join(missing)}; wanted {wanted}: choose another folder.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = {name: manifest[name]["bytes"] for name in files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / MANIFEST} does not list {' and '.join(files)}: choose weights made by this program.") from error
    for name, size in listed.items():
        if (folder / name).stat().st_size != size:
            raise InputError(f"{folder / name} is damaged (its size is not the manifest's): copy the weights again, or choose others.")
