"""A segmentation with a person's edits, as it was before a run changed it."""

from InfantBrainSegLib.core.labels import TISSUES

from .provenance import PROVENANCE_ROLE
from .results import PROBABILITY_ROLE, ResultNodes
from .statistics import own_table


class Before:
    """Results as they are before a run replaces them.

    Parameters
    ----------
    targets : ResultNodes
        With the segmentation.
    """

    def __init__(self, targets: ResultNodes):
        referenced = targets.segmentation.GetNodeReference
        nodes = [
            targets.segmentation,
            own_table(targets.segmentation, targets.table),
            referenced(PROVENANCE_ROLE),
            targets.labelmap,
            *(referenced(PROBABILITY_ROLE + tissue.short_name) for tissue in TISSUES),
        ]
        self._kept = [(node, _copy(node)) for node in nodes if node is not None]

    def restore(self) -> None:
        """Give the nodes that are still in the scene their content back."""
        for node, copied in self._kept:
            if node.GetScene() is not None:
                node.Copy(copied)


def _copy(node):
    copied = node.CreateNodeInstance()
    copied.Copy(node)
    return copied
