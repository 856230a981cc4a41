"""The device combo box: automatic and CPU at once, GPUs when the Advanced section is first opened."""

import threading

import qt
from slicer.i18n import tr as _

POLL_MS = 200


class DevicesBox:
    """Fills a combo box with the devices of this computer and keeps it and the parameter node in step.

    Looking for GPUs starts a child process that imports torch, which takes seconds: a thread waits for it.

    Parameters
    ----------
    combo : qt.QComboBox
    logic : SceneLogic
    on_chosen : callable
        Takes the value that the user picked.
    """

    def __init__(self, combo, logic, on_chosen):
        self._combo = combo
        self._logic = logic
        self._on_chosen = on_chosen
        self._found: list[tuple[str, str]] = []
        self._thread: threading.Thread | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._fill([("auto", _("Automatic")), ("cpu", _("CPU"))], "auto")
        combo.connect("activated(int)", self._picked)

    def show(self, value: str) -> None:
        """Select a device; one that is not known here is added, so that a scene from another computer keeps its choice."""
        index = self._combo.findData(value)
        if index < 0:
            self._combo.addItem(value, value)
            index = self._combo.findData(value)
        self._combo.setCurrentIndex(index)

    def find_devices(self) -> None:
        """Look for GPUs, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._find, daemon=True)
            self._thread.start()
            self._timer.start()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._timer.stop()

    def _find(self) -> None:
        self._found = self._logic.devices()

    def _poll(self) -> None:
        self._thread.join(0.01)  # also lets the thread run where Qt's event loop holds Python's lock
        if not self._thread.is_alive():
            self._timer.stop()
            if self._found:
                self._fill(self._found, self._combo.itemData(self._combo.currentIndex))

    def _fill(self, devices: list[tuple[str, str]], value: str) -> None:
        self._combo.clear()
        for device, label in devices:
            self._combo.addItem(label, device)
        self.show(value)

    def _picked(self, index: int) -> None:
        self._on_chosen(self._combo.itemData(index))
