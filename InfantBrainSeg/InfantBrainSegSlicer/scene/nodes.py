"""MRML nodes to images and back: geometry, parent transforms, masks.

The library works on T1 as it lies in the scene, so that parent transforms count: a node's image carries its own voxel-to-RAS matrix times
its linear parent transform. SimpleITK's physical space is LPS, MRML's is RAS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import slicer
import vtk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import TISSUES

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

_RAS_TO_LPS = (-1.0, -1.0, 1.0, 1.0)  # a diagonal matrix
BINARY_LABELMAP = "Binary labelmap"  # vtkSegmentationConverter's name of the representation


def _identity() -> np.ndarray:
    import numpy as np

    return np.eye(4)


@dataclass(frozen=True)
class Given:
    """Where the scans lay when the child was given them; their parent transforms may change during the run.

    Attributes
    ----------
    grid : sitk.Image
        The grid of the scan that gets the result, in the world.
    main_to_world, t2_to_world : (4, 4) arrays
        Parent transforms of that scan, and of T2.
    """

    grid: sitk.Image
    main_to_world: np.ndarray = field(default_factory=_identity)
    t2_to_world: np.ndarray = field(default_factory=_identity)


def parent_to_world(node) -> np.ndarray:
    """Give the matrix of a node's parent transforms.

    Parameters
    ----------
    node : vtkMRMLTransformableNode

    Returns
    -------
    (4, 4) array in RAS; the identity without a parent

    Raises
    ------
    InputError
        If a parent transform is not linear.
    """
    import numpy as np

    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            f"'{node.GetName()}' is under the non-linear transform '{parent.GetName()}'; wanted a linear one or none: "
            "harden it (Data module, right click on the node, Harden transform), or take the node out of it."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return to_array(matrix)


def ijk_to_ras(node) -> np.ndarray:
    """Give a volume's own matrix from voxel index to RAS mm, without parent transforms, (4, 4)."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return to_array(matrix)


def image_from_volume(node) -> sitk.Image:
    """Copy a scalar volume as it lies in the scene: its linear parent transform is hardened into the copy.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode with image data

    Raises
    ------
    InputError
        If a parent transform is not linear.
    """
    return make_image(array_of(node.GetImageData()), parent_to_world(node) @ ijk_to_ras(node))


def image_from_mask(node, scan_node) -> sitk.Image:
    """Copy a brain mask as it lies in the scene.

    Parameters
    ----------
    node : vtkMRMLLabelMapVolumeNode, or vtkMRMLSegmentationNode whose segments together are the brain
    scan_node : vtkMRMLScalarVolumeNode
        Its voxel size serves where the segmentation has surfaces alone.

    Returns
    -------
    sitk.Image of uint8, 1 in the mask

    Raises
    ------
    InputError
        If a parent transform is not linear, or the mask is empty.
    """
    import numpy as np

    if node.IsA("vtkMRMLSegmentationNode"):
        array, matrix = _union_of_segments(node, scan_node)
    else:
        array, matrix = array_of(node.GetImageData()), ijk_to_ras(node)
    if not (array > 0).any():
        raise InputError(f"The brain mask '{node.GetName()}' is empty; wanted voxels above 0 in the brain: choose another, or none.")
    return make_image((array > 0).astype(np.uint8), parent_to_world(node) @ matrix)


def image_from_tissues(node, scan_node) -> sitk.Image:
    """Copy the tissues of a segmentation as they lie in the scene, on the grid of a scan.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    scan_node : vtkMRMLScalarVolumeNode

    Returns
    -------
    sitk.Image of uint8 with our labels; a voxel of two tissues is of the later one

    Raises
    ------
    InputError
        If a parent transform is not linear.
    """
    import numpy as np
    import SimpleITK as sitk

    grid = image_from_volume(scan_node)
    labels = np.zeros(grid.GetSize()[::-1], np.uint8)
    segmentation = with_labelmaps(node.GetSegmentation())
    for tissue in TISSUES:
        segment = segmentation.GetSegment(tissue.short_name)
        labelmap = segment.GetRepresentation(BINARY_LABELMAP) if segment is not None else None
        if labelmap is not None and labelmap.GetNumberOfPoints() > 0:
            inside = (array_of(labelmap) == segment.GetLabelValue()).astype(np.uint8)
            image = make_image(inside, parent_to_world(node) @ _first_voxel_to_ras(labelmap))
            on_scan = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
            labels[sitk.GetArrayViewFromImage(on_scan) > 0] = tissue.value
    return make_image(labels, parent_to_world(scan_node) @ ijk_to_ras(scan_node))


def with_labelmaps(segmentation):
    """Give a segmentation whose segments have voxels: itself, or a copy where they must first be made from surfaces.

    Parameters
    ----------
    segmentation : vtkSegmentation
    """
    if segmentation.GetSourceRepresentationName() == BINARY_LABELMAP:
        return segmentation
    copied = slicer.vtkSegmentation()
    copied.DeepCopy(segmentation)
    copied.CreateRepresentation(BINARY_LABELMAP, True)
    return copied


def make_image(array: np.ndarray, matrix: np.ndarray) -> sitk.Image:
    """Build an image from voxels and geometry.

    Parameters
    ----------
    array : (K, J, I) array
    matrix : (4, 4) array, from voxel index (i, j, k) to RAS mm
    """
    import numpy as np
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    lps = np.diag(_RAS_TO_LPS) @ matrix
    spacing_mm = np.linalg.norm(lps[:3, :3], axis=0).round(10)  # 3 mm oblique is 3 mm, not a digit above the limit
    image.SetSpacing(spacing_mm.tolist())
    image.SetDirection((lps[:3, :3] / spacing_mm).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def write_exactly(image: sitk.Image, path: Path) -> None:
    """Write an image for the child, uncompressed NRRD: it keeps every digit of an oblique or sheared geometry.

    Parameters
    ----------
    image : sitk.Image
    path : Path ending in .nrrd

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written.
    """
    import SimpleITK as sitk

    voxel_bytes = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    try:
        sitk.WriteImage(image, str(path), False)
    except RuntimeError as error:
        raise OSError("the scan did not fit on its disk, or the folder is read-only") from error
    if path.stat().st_size < voxel_bytes:
        raise OSError("the disk is full")


def read_linear_transform(path: Path) -> np.ndarray:
    """Read a linear transform that SimpleITK wrote.

    Returns
    -------
    (4, 4) array, RAS mm, in the file's own direction

    Raises
    ------
    OSError
        If it cannot be read.
    """
    import numpy as np
    import SimpleITK as sitk

    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise OSError(f"{path.name} is no readable transform") from error
    matrix = np.eye(4)
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        matrix[:3, axis] = np.subtract(transform.TransformPoint(np.eye(3)[axis].tolist()), matrix[:3, 3])
    return np.diag(_RAS_TO_LPS) @ matrix @ np.diag(_RAS_TO_LPS)


def array_of(image_data) -> np.ndarray:
    """View image data as a (K, J, I) array; both share the memory."""
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(image_data.GetPointData().GetScalars()).reshape(image_data.GetDimensions()[::-1])


def image_data_from_array(array: np.ndarray, image_data=None):
    """Copy a (K, J, I) array into new image data.

    Parameters
    ----------
    array : (K, J, I) array
    image_data : vtkImageData, optional
        What to fill, for example a vtkOrientedImageData.

    Returns
    -------
    vtkImageData with unit spacing and origin 0, as MRML wants it
    """
    import numpy as np
    from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk

    image_data = image_data or vtk.vtkImageData()
    image_data.SetDimensions(array.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True, array_type=get_vtk_array_type(array.dtype))
    image_data.GetPointData().SetScalars(scalars)
    return image_data


def to_array(matrix) -> np.ndarray:
    """Turn a vtkMatrix4x4 into a (4, 4) array."""
    import numpy as np

    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_matrix(array: np.ndarray):
    """Turn a (4, 4) array into a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(array.ravel().tolist())
    return matrix


def _union_of_segments(node, scan_node) -> tuple[np.ndarray, np.ndarray]:
    """All segments as one labelmap with its matrix to the node's own RAS; the node stays as it is."""
    source = node
    if not node.GetSegmentation().ContainsRepresentation(BINARY_LABELMAP):
        source = slicer.vtkMRMLSegmentationNode()  # a copy outside the scene: no new representation in hers
        source.GetSegmentation().DeepCopy(node.GetSegmentation())
        source.SetReferenceImageGeometryParameterFromVolumeNode(scan_node)  # the default would be a tenth of a millimeter
        source.GetSegmentation().CreateRepresentation(BINARY_LABELMAP)
    merged = slicer.vtkOrientedImageData()
    filled = node.GetSegmentation().GetNumberOfSegments() > 0 and source.GenerateMergedLabelmapForAllSegments(merged)
    if not filled or merged.GetNumberOfPoints() == 0:
        raise InputError(
            f"The brain mask '{node.GetName()}' has no voxels; wanted a segment that covers the brain: choose another, or none."
        )
    return array_of(merged), _first_voxel_to_ras(merged)


def _first_voxel_to_ras(oriented) -> np.ndarray:
    """Give an oriented image's matrix to RAS, (4, 4), from the index in its array, whose first voxel is the extent's and not index 0."""
    to_ras = vtk.vtkMatrix4x4()
    oriented.GetImageToWorldMatrix(to_ras)
    matrix = to_array(to_ras)
    matrix[:3, 3] += matrix[:3, :3] @ oriented.GetExtent()[::2]
    return matrix
