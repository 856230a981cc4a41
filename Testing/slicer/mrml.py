"""Slicer's real MRML core without the application: one fresh scene with the logics that this module needs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from InfantBrainSegLib.imaging.files import index_to_physical


def new_scene(cache_dir):
    """Set up `slicer.mrmlScene` and `slicer.modules` as the application would; nodes of an earlier scene are gone.

    Parameters
    ----------
    cache_dir : folder for what reading an .mrb unpacks
    """
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetHomeDirectory(str(cache_dir))
    application.SetShareDirectory(".")
    (Path(cache_dir) / "ColorFiles").mkdir(exist_ok=True)  # where it looks for color files; none are needed
    (Path(cache_dir) / ".slicer-cache").touch()  # the mark without which it does not clear the folder
    colors = slicer.vtkSlicerColorLogic()
    application.SetModuleLogic("Colors", colors)
    logics = {
        "colors": colors,
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "volumes": slicer.vtkSlicerVolumesLogic(),
        "sequences": slicer.vtkSlicerSequencesLogic(),
        "tables": slicer.vtkSlicerTablesLogic(),
        "subjecthierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
    }
    for logic in logics.values():
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(cache_dir))
    remote.AddDataIOToScene()
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()})
    scene.keep_alive = (application, remote)  # they hold the scene's logics and cache, and the scene does not hold them
    return scene


def node_count(scene=None):
    """Count the scene's nodes, so that a test can tell that nothing was left behind."""
    return (scene or slicer.mrmlScene).GetNumberOfNodes()


def volume_node(image, name="T1", class_name="vtkMRMLScalarVolumeNode"):
    """Add an image to the scene as a volume, also to the subject hierarchy, as the application would."""
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((np.diag([-1.0, -1.0, 1.0, 1.0]) @ index_to_physical(image)).ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(image))
    node.CreateDefaultDisplayNodes()
    hierarchy = hierarchy_node()
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    return node


def hierarchy_node():
    """The scene's subject hierarchy."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def linear_transform(matrix, name="Transform"):
    """Add a transform from a (4, 4) array."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    return node


def bent_transform(name="Warp"):
    """Add a transform that is not linear."""
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for place in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (40, 40, 40)):
        source.InsertNextPoint(place)
        target.InsertNextPoint([1.1 * value + 3 * (value > 30) for value in place])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    node.SetAndObserveTransformToParent(spline)
    return node


def world_points_mm(volume):
    """RAS position in the world of each voxel of a volume node, (K, J, I, 3), point by point through MRML's own transforms."""
    matrix, general = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    volume.GetIJKToRASMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(volume.GetParentTransformNode(), None, general)
    corner = np.array(
        [general.TransformPoint(matrix.MultiplyPoint((*index, 1))[:3]) for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    )
    size = volume.GetImageData().GetDimensions()
    i, j, k = np.meshgrid(*[np.arange(n) for n in size], indexing="ij")
    index = np.stack([i, j, k], -1).transpose(2, 1, 0, 3)  # (K, J, I, 3)
    return index @ (corner[1:] - corner[0]) + corner[0]


def slice_views(scene):
    """Add the three slice views of the application, which a scene by itself has not."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    nodes = []
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        nodes.append(scene.AddNewNodeByClass("vtkMRMLSliceNode", name))
        nodes[-1].SetLayoutName(name)
        assert nodes[-1].SetOrientation(orientation)
    return nodes


def middle_of(view):
    """Where the middle of a slice view lies, RAS in the world."""
    return np.array([view.GetSliceToRAS().GetElement(row, 3) for row in range(3)])
