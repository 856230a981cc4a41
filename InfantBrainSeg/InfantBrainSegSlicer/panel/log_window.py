"""The window with everything that a run printed."""

from pathlib import Path

import qt
from slicer.i18n import tr as _


class LogWindow:
    """A window beside the panel that follows a log file."""

    def __init__(self):
        self._dialog = None
        self._text = None
        self._size = -1

    def show(self, path: str) -> None:
        """Open the window on a file, or bring it to the front."""
        if self._dialog is None:
            self._dialog = qt.QDialog()
            self._dialog.setWindowTitle(_("Infant Brain Segmentation: log"))
            self._dialog.resize(760, 480)
            self._text = qt.QPlainTextEdit()
            self._text.setReadOnly(True)
            layout = qt.QVBoxLayout(self._dialog)
            layout.addWidget(self._text)
        self._size = -1
        self._dialog.show()
        self._dialog.raise_()
        self.refresh(path)

    def refresh(self, path: str) -> None:
        """Show what the file has gained, where the window is open."""
        if self._dialog is None or not self._dialog.visible:
            return
        file = Path(path)
        size = file.stat().st_size if file.is_file() else -1
        if size != self._size:
            self._size = size
            found = file.read_text(encoding="utf-8", errors="replace") if size >= 0 else _("The log {path} is gone.").format(path=path)
            self._text.setPlainText(found)

    def close(self) -> None:
        """Close the window."""
        if self._dialog is not None:
            self._dialog.close()
