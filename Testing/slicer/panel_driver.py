"""Opens the real panel in the host and clicks in it as a user would."""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import host
import slicer
from host import pythonqt
from stand_in import ROOT
from stand_in import command as stand_in

EMPTY = "No scan is chosen: choose the T1-weighted and the T2-weighted scan, or at least one of them."  # what a fresh panel says


class Panel:
    """The module's panel as a user meets it."""

    def __init__(self):
        self.module = host.load_module(ROOT / "InfantBrainSeg" / "InfantBrainSeg.py")
        self.frame = self.module.widgetRepresentation()
        self.frame.resize(420, 900)
        self.frame.show()
        self.frame.enter()
        self.logic.command = stand_in("good")

    @property
    def widget(self):
        return self.frame.self()

    @property
    def logic(self):
        return self.widget.logic

    @property
    def ui(self):
        return self.widget.ui

    @property
    def run(self):
        return self.widget._monitor.run

    def choose(self, scans):
        self.ui.t1Selector.choose(scans[0].GetName())
        self.ui.t2Selector.choose(scans[1].GetName())

    def ready(self, scans):
        self.choose(scans)
        self.wait_for(lambda: self.ui.statusLabel.text.startswith("Ready"))

    def segment(self, mode="good"):
        self.logic.command = stand_in(mode)
        self.ui.segmentButton.click()
        return self.run

    def segment_to_the_end(self, mode="good", seconds=20):
        run = self.segment(mode)
        self.wait_for(lambda: self.run is None, seconds)
        return run

    def segment_until_it_hangs(self):
        run = self.segment("hang")
        self.wait_for(lambda: self.ui.progressBar.value > 0)
        line = next(line for line in Path(run.logPath).read_text(encoding="utf-8").splitlines() if "pids " in line)
        return run, [int(pid) for pid in line.partition("pids ")[2].split()]

    def wait_for(self, condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"Not within {seconds} s; the panel says: {self.ui.statusLabel.text}"
            slicer.app.processEvents()
            time.sleep(0.005)

    def table(self):
        table = self.ui.resultsTable
        titles = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
        return {title: [table.item(row, column).text() for row in range(table.rowCount)] for column, title in enumerate(titles)}


@contextlib.contextmanager
def opened_panel(temporary, monkeypatch):
    """Open the panel on the fresh scene, with temporary files in a folder; what a slot raised fails the test at the end."""
    host.start()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with same_modules():
        panel = Panel()
        yield panel
        panel.widget.cleanup()
        panel.frame.delete()
        slicer.app.processEvents()
    found, pythonqt.problems[:] = list(pythonqt.problems), []
    assert not found


@contextlib.contextmanager
def same_modules():
    """Let later tests have the modules, and so the error classes, that they imported: a reload of the panel makes new ones."""
    before = {name: module for name, module in sys.modules.items() if is_ours(name)}
    yield
    for name in [name for name in sys.modules if is_ours(name) and name not in before]:
        del sys.modules[name]
    sys.modules.update(before)


def is_ours(name):
    return name.partition(".")[0] in ("InfantBrainSegSlicer", "InfantBrainSegLib")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] != "Z"
