"""Drives a run from Qt's event loop, so that whoever started it need not poll."""

from .run import RUNNING, Run

POLL_MS = 50
_driven: set["RunTimer"] = set()  # keeps each alive until its run is over


class RunTimer:
    """Polls one run until it is over.

    Parameters
    ----------
    run : Run
    timer : qt.QTimer
    """

    def __init__(self, run: Run, timer):
        self._run = run
        self._timer = timer
        timer.setInterval(POLL_MS)
        timer.connect("timeout()", self._tick)
        timer.start()
        _driven.add(self)

    def _tick(self) -> None:
        try:
            self._run.poll()
        except BaseException:  # a callback's: nobody is above us to end the run
            self._run.cancel()
            raise
        finally:
            if self._run.state != RUNNING:
                self._timer.stop()
                _driven.discard(self)


def drive(run: Run) -> None:
    """Poll a run from now on; outside the application, where there is no event loop, its owner does that."""
    try:
        import qt  # Slicer's: not there outside the application
    except ImportError:
        return
    RunTimer(run, qt.QTimer())
