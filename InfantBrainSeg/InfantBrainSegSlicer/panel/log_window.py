"""The window with everything that a run printed."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

REFRESH_MS = 500


class LogWindow:
    """A window beside the panel that follows a log file."""

    def __init__(self):
        self._dialog = None
        self._text = None
        self._path = ""
        self._size = -1
        self._shown = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(REFRESH_MS)
        self._timer.connect("timeout()", self.refresh)

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
        self.follow(path)
        self._dialog.show()
        self._dialog.raise_()
        self.refresh()
        self._timer.start()

    def follow(self, path: str) -> None:
        """Take another file."""
        if path != self._path:
            self._path, self._size = path, -1

    def refresh(self) -> None:
        """Show what the file has gained; once the window is closed, stop looking."""
        if self._dialog is None or not self._dialog.visible:
            self._timer.stop()
            return
        file = Path(self._path)
        size = file.stat().st_size if file.is_file() else -1
        if size != self._size:
            self._size = size
            found = (
                file.read_text(encoding="utf-8", errors="replace") if size >= 0 else _("The log {path} is gone.").format(path=self._path)
            )
            if self._shown and found.startswith(self._shown):
                self._text.appendPlainText(found[len(self._shown) :].rstrip("\n"))  # keeps the place where someone reads
            else:
                self._text.setPlainText(found.rstrip("\n"))
            self._shown = found

    def close(self) -> None:
        """Close the window."""
        self._timer.stop()
        if self._dialog is not None:
            self._dialog.close()
