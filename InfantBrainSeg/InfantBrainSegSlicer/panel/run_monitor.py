"""Follows a run that goes on by itself: the progress bar, the clock, the end."""

from collections.abc import Callable

import qt

from ..run.run import RUNNING, Run
from .messages import duration, step_text

LOOK_MS = 100
PARTS = 1000


class RunMonitor:
    """Looks at a run and shows how far it is.

    Parameters
    ----------
    ui : object
        Has `progressBar`, `elapsedLabel` and `statusLabel`.
    on_end : callable
        Takes the run when it is over, however it ended.
    """

    def __init__(self, ui, on_end: Callable[[Run], None]):
        self._ui = ui
        self._on_end = on_end
        self.run: Run | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(LOOK_MS)
        self._timer.connect("timeout()", self._tick)

    def follow(self, run: Run) -> None:
        """Start to look at a run that has just begun."""
        self.run = run
        self._show()
        self._ui.progressBar.visible = True
        self._ui.elapsedLabel.visible = True
        self._timer.start()

    def cancel(self) -> None:
        """Cancel the run, if there is one, and show that."""
        if self.run is not None:
            try:
                self.run.cancel()
            finally:
                self._end()

    def _tick(self) -> None:
        if self.run is not None and self.run.state == RUNNING:
            self._show()
        else:
            self._end()

    def _show(self) -> None:
        self._ui.progressBar.value = round(PARTS * self.run.progress)
        self._ui.elapsedLabel.text = duration(self.run.seconds)
        self._ui.statusLabel.text = step_text(self.run.step)

    def _end(self) -> None:
        self._timer.stop()
        self._ui.progressBar.visible = False
        self._ui.elapsedLabel.visible = False
        run, self.run = self.run, None
        if run is not None:
            self._on_end(run)
