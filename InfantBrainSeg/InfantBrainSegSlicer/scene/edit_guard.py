"""Knows which segmentations a new run may replace without asking: those nobody has touched since they were made."""

import slicer


class EditGuard:
    """Watches the results of this session for manual edits."""

    def __init__(self):
        self._observers: dict[str, tuple] = {}

    def made(self, node) -> None:
        """Take note that a run has just made this segmentation."""
        self.forget(node.GetID())
        tag = node.GetSegmentation().AddObserver(slicer.vtkSegmentation.SourceRepresentationModified, lambda *_: self.forget(node_id))
        node_id = node.GetID()
        self._observers[node_id] = (node.GetSegmentation(), tag)

    def holds_work(self, node) -> bool:
        """Whether the segmentation has segments that a run of this session did not make, or that were edited since."""
        return node is not None and node.GetSegmentation().GetNumberOfSegments() > 0 and node.GetID() not in self._observers

    def forget(self, node_id: str) -> None:
        """Stop watching a segmentation."""
        segmentation, tag = self._observers.pop(node_id, (None, None))
        if segmentation is not None:
            segmentation.RemoveObserver(tag)

    def forget_all(self) -> None:
        """Stop watching."""
        for node_id in list(self._observers):
            self.forget(node_id)
