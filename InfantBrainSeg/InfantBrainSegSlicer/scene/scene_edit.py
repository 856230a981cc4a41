"""Changes of the scene that are done as a whole or not at all, and where new nodes go."""

import contextlib
from collections.abc import Iterator

import slicer


@contextlib.contextmanager
def undone_on_failure(scene) -> Iterator:
    """Give a function that notes a node's content; when the block fails, that content returns and every node added in it goes.

    Parameters
    ----------
    scene : vtkMRMLScene
    """
    before = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    kept = []

    def keep(node) -> None:
        if node is not None and node.GetID() in before:
            backup = node.CreateNodeInstance()
            backup.Copy(node)
            kept.append((node, backup))

    try:
        yield keep
    except BaseException:
        for node, backup in kept:
            node.Copy(backup)
        added = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        for node in reversed([node for node in added if node.GetID() not in before]):
            scene.RemoveNode(node)
        raise


def add_node(scene, class_name: str, name: str):
    """Add a node under a name that no other has, with its display node.

    Parameters
    ----------
    scene : vtkMRMLScene
    class_name, name : str

    Returns
    -------
    vtkMRMLNode
    """
    node = scene.AddNewNodeByClass(class_name, scene.GenerateUniqueName(name))
    if node.IsA("vtkMRMLDisplayableNode"):
        node.CreateDefaultDisplayNodes()
    return node


def place_beside(scan, nodes: list) -> None:
    """Give new nodes the scan's parent in the subject hierarchy; what the user has put into a folder stays there.

    Parameters
    ----------
    scan : vtkMRMLScalarVolumeNode
    nodes : list of vtkMRMLNode
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scan.GetScene())
    item = hierarchy.GetItemByDataNode(scan) if hierarchy is not None else 0
    if not item:
        return
    parent = hierarchy.GetItemParent(item)
    for node in nodes:
        own = hierarchy.GetItemByDataNode(node)
        if not own:
            hierarchy.CreateItem(parent, node)
        elif hierarchy.GetItemParent(own) in (0, hierarchy.GetSceneItemID()):
            hierarchy.SetItemParent(own, parent)
