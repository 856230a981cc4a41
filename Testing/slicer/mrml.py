"""Slicer's real MRML core without the application: one fresh scene with the logics that this module needs."""

from types import SimpleNamespace

import slicer


def new_scene(cache_dir):
    """Set up `slicer.mrmlScene` and `slicer.modules` as the application would; nodes of an earlier scene are gone.

    Parameters
    ----------
    cache_dir : folder for what reading an .mrb unpacks
    """
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    colors = slicer.vtkSlicerColorLogic()
    application.SetModuleLogic("Colors", colors)
    logics = {
        "colors": colors,
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "volumes": slicer.vtkSlicerVolumesLogic(),
        "tables": slicer.vtkSlicerTablesLogic(),
        "subjecthierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
    }
    for logic in logics.values():
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(cache_dir))
    scene.SetCacheManager(remote.GetCacheManager())
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**{name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()})
    scene.keep_alive = (application, remote)  # they hold the scene's logics and cache, and the scene does not hold them
    return scene


def node_count(scene=None):
    """Count the scene's nodes, so that a test can tell that nothing was left behind."""
    return (scene or slicer.mrmlScene).GetNumberOfNodes()
