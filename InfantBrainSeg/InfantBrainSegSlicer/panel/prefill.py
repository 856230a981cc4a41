"""Fills in what the loaded data say plainly; what a user chose, or cleared, is never touched."""

from collections.abc import Callable

import qt
import slicer

from ..scene.guess import guess_age_months, guess_scans
from ..scene.options import Scans
from .parameters import InfantBrainSegParameterNode

DELAY_MS = 300  # a volume gets its voxels and its place in the subject hierarchy after it is in the scene


class Prefill:
    """Offers each volume once.

    Parameters
    ----------
    current : callable
        Gives the parameter node to fill in, or None while nothing may change.
    """

    def __init__(self, current: Callable[[], InfantBrainSegParameterNode | None]):
        self._current = current
        self._offered: set[tuple[str, str]] = set()  # field and node
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.connect("timeout()", self.fill)

    def soon(self) -> None:
        """Fill in when data that are being loaded are there."""
        self._timer.start()

    def stop(self) -> None:
        """Drop what is still to come."""
        self._timer.stop()

    def forget(self) -> None:
        """Begin anew, as in another scene."""
        self.stop()
        self._offered.clear()

    def fill(self) -> None:
        """Fill in empty fields; a scene that has a result keeps the inputs of that result."""
        node = self._current()
        if node is None or node.outputSegmentation is not None:
            return
        guess = guess_scans(slicer.mrmlScene)
        with slicer.util.NodeModify(node):
            self._offer(node, "t1Volume", guess.t1, node.t2Volume)
            self._offer(node, "t2Volume", guess.t2, node.t1Volume)
        self.fill_age(node)

    def fill_age(self, node: InfantBrainSegParameterNode) -> None:
        """Fill in the age that goes with the chosen scan."""
        scan = Scans(node.t1Volume, node.t2Volume).main
        if scan is None or node.ageMonths.strip() or ("ageMonths", scan.GetID()) in self._offered:
            return
        age = guess_age_months(scan)
        if age is not None:
            self._offered.add(("ageMonths", scan.GetID()))
            node.ageMonths = f"{age:g}"

    def _offer(self, node: InfantBrainSegParameterNode, field: str, found, other) -> None:
        if found is None or found is other or getattr(node, field) is not None or (field, found.GetID()) in self._offered:
            return
        self._offered.add((field, found.GetID()))
        setattr(node, field, found)
