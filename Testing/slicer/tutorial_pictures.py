"""Makes the tutorial's pictures, one a step: the panel in this project's host, views by Slicer's own view code, the report in a browser.

`python Testing/slicer/tutorial_pictures.py` takes the bundled sample through every step, in about a minute, and writes
Resources/tutorial_*.jpg. Without Chromium or Chrome it makes all but the report.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import slicer

ROOT = Path(__file__).parents[2]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
WAIT_S = 300.0
PANEL_PX, VIEW_PX, GAP_PX = 400, 300, 4
REPORT_PX, REPORT_SHOWN_PX = (960, 1500), 720  # window of the browser; width of the picture
QUALITIES = range(85, 50, -5)  # of the JPEG files: the first that keeps them small
MAX_BYTES = 120_000
STROKE_MM = 6.0  # radius of what the tutorial mends
AGE_MONTHS = "6"
PLANES = (("Red", "Axial"), ("Slice4", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
CLOSE_UP = 1  # its place in them
CLOSE_UP_MM = 45.0


def in_the_window(panel, seconds: float = WAIT_S) -> Iterator[None]:
    """Let the panel work, a moment at a time, and fail in the end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        slicer.app.processEvents()
        time.sleep(0.01)
        yield
    raise TimeoutError(f"Not within {seconds:g} s; the panel says: {panel.ui.statusLabel.text}")


def wait_for(panel, condition) -> None:
    """Wait until a condition holds."""
    for _ in in_the_window(panel):
        if condition():
            return


class Window:
    """The panel with four views beside it, as the application shows them.

    Parameters
    ----------
    panel : panel_driver.Panel
    views : list of render_views.SliceView
        Of `PLANES`, in their order.
    """

    def __init__(self, panel, views):
        self._panel, self._views = panel, views

    def picture(self, first_section: str = "", surfaces: bool = False):
        """Draw the panel from a section on, and the views beside it; surfaces take the place of the second one.

        Returns
        -------
        qt.QImage
        """
        import qt
        import render_views

        shown = [view.image() for view in self._views]
        if surfaces:
            shown[1] = render_views.surface_image((VIEW_PX, VIEW_PX))
        panel = self._panel_image(first_section)
        side = 2 * VIEW_PX + GAP_PX
        picture = qt.QImage(panel.width() + GAP_PX + side, max(panel.height(), side), qt.QImage.Format_RGB888)
        picture.fill(self._panel.frame.palette.color(qt.QPalette.Window))
        painter = qt.QPainter(picture)
        painter.drawImage(0, 0, panel)
        for index, view in enumerate(shown):
            row, column = divmod(index, 2)
            x, y = (place * (VIEW_PX + GAP_PX) for place in (column, row))
            painter.drawImage(panel.width() + GAP_PX + x, y, as_image(view))
        painter.end()
        return picture

    def _panel_image(self, first_section: str):
        import qt

        frame = self._panel.frame
        frame.resize(PANEL_PX, 100)
        for _ in range(3):  # labels that wrap take more than one turn to find their height
            slicer.app.processEvents()
            frame.resize(PANEL_PX, frame.sizeHint.height())
        image = frame.grab().toImage()
        if not first_section:
            return image
        top = getattr(self._panel.ui, first_section).mapTo(frame, qt.QPoint(0, 0)).y() - GAP_PX
        return image.copy(0, top, image.width(), image.height() - top)


def as_image(array: np.ndarray):
    """Turn (height, width, 3) uint8 into a picture."""
    import qt

    array = np.ascontiguousarray(array)
    return qt.QImage(array.tobytes(), array.shape[1], array.shape[0], 3 * array.shape[1], qt.QImage.Format_RGB888).copy()


def mend(segmentation, t1, center_mm: tuple[float, float, float]) -> None:
    """Call gray matter white in a ball, as strokes in Segment Editor do.

    Parameters
    ----------
    segmentation, t1 : nodes
    center_mm : R, A, S
    """
    import mrml

    near = np.linalg.norm(mrml.world_points_mm(t1) - center_mm, axis=-1) <= STROKE_MM  # (K, J, I)
    gray, white = (slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, t1) > 0 for name in ("GM", "WM"))
    for name, inside in (("GM", gray & ~near), ("WM", white | (gray & near))):
        slicer.util.updateSegmentBinaryLabelmapFromArray(inside.astype(np.uint8), segmentation, name, t1)


def most_doubtful_mm(doubt) -> tuple[float, float, float]:
    """Find where the most doubt lies close together, in R, A, S."""
    import mrml
    from scipy import ndimage

    smooth = ndimage.uniform_filter(slicer.util.arrayFromVolume(doubt), 9)
    return tuple(mrml.world_points_mm(doubt)[np.unravel_index(np.argmax(smooth), smooth.shape)])


def pictures(panel, views, folder: Path) -> Iterator[tuple[str, object]]:
    """Take the sample through the tutorial; gives the name of each step and its picture.

    Parameters
    ----------
    panel : panel_driver.Panel
    views : list of render_views.SliceView, axial first
    folder : Path
        For files in between.
    """
    import qt
    from InfantBrainSegSlicer.scene.doubt import DOUBT_ROLE

    ui, window = panel.ui, Window(panel, views)
    ui.sampleButton.click()
    ui.ageLineEdit.text = AGE_MONTHS
    ui.probabilitiesCheckBox.click()
    wait_for(panel, lambda: ui.statusLabel.text.startswith("Ready"))
    t1, t2 = ui.t1Selector.currentNode(), ui.t2Selector.currentNode()
    for index, view in enumerate(views):
        view.show(t2 if index == CLOSE_UP else t1)
    yield "sample", window.picture()

    ui.segmentButton.click()
    wait_for(panel, lambda: panel.run is None)
    result = ui.segmentationSelector.currentNode()
    if result is None:
        raise RuntimeError(f"The sample was not segmented; the panel says: {ui.statusLabel.text}")
    for view in views:
        view.show(t1)
    result.CreateClosedSurfaceRepresentation()
    yield "segment", window.picture(surfaces=True)

    ui.doubtCheckBox.click()
    place_mm = most_doubtful_mm(result.GetNodeReference(DOUBT_ROLE))
    for view in views:
        view.node.JumpSliceByOffsetting(*place_mm)
    views[CLOSE_UP].node.JumpSliceByCentering(*place_mm)
    views[CLOSE_UP].node.SetFieldOfView(CLOSE_UP_MM, CLOSE_UP_MM, views[CLOSE_UP].node.GetFieldOfView()[2])
    yield "check", window.picture("resultsCollapsibleButton")

    ui.doubtCheckBox.click()
    ui.outlineCheckBox.click()
    mend(result, t1, place_mm)
    ui.recomputeButton.click()
    ui.reviewedCheckBox.click()
    yield "correct", window.picture("resultsCollapsibleButton")

    if BROWSER is not None:
        page = folder / "report.html"
        panel.logic.writeReport(result, page)
        yield "report", qt.QImage(str(photograph(page))).scaledToWidth(REPORT_SHOWN_PX, qt.Qt.SmoothTransformation)


def photograph(page: Path) -> Path:
    """Take a picture of a page as the browser shows it."""
    picture = page.with_suffix(".png")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={page.parent / 'browser'}"]
    size = f"--window-size={REPORT_PX[0]},{REPORT_PX[1]}"
    subprocess.run([BROWSER, *options, size, f"--screenshot={picture}", page.as_uri()], check=True, capture_output=True, timeout=WAIT_S)
    return picture


def write_small(picture, path: Path) -> None:
    """Write a picture as a small JPEG file.

    Parameters
    ----------
    picture : qt.QImage
    path : Path
    """
    for quality in QUALITIES:
        if not picture.save(str(path), "JPEG", quality):
            raise OSError(f"{path} cannot be written: choose a folder that exists.")
        if path.stat().st_size <= MAX_BYTES:
            return
    raise ValueError(f"{path} is larger than {MAX_BYTES} bytes: make its views smaller.")


def make(folder: Path, command: list[str] | None = None) -> list[Path]:
    """Make all pictures.

    Parameters
    ----------
    folder : Path
        Where they go.
    command : list of str, optional
        What segments, as `SceneLogic.command`.

    Returns
    -------
    list of Path
        The files, in the order of the steps.
    """
    import host
    import mrml
    import panel_driver
    import render_views

    made = []
    with tempfile.TemporaryDirectory() as temporary:
        mrml.new_scene(temporary)
        host.start()
        views = [render_views.SliceView(name, orientation, (VIEW_PX, VIEW_PX)) for name, orientation in PLANES]
        panel = panel_driver.Panel()
        panel.logic.command = command
        for step, picture in pictures(panel, views, Path(temporary)):
            made.append(folder / f"tutorial_{step}.jpg")
            write_small(picture, made[-1])
        panel.widget.cleanup()
        panel.frame.delete()
    return made


def main() -> int:
    """Make the pictures of the tutorial."""
    sys.path[:0] = [str(ROOT), str(ROOT / "InfantBrainSeg")]
    os.environ["USER"] = os.environ["LOGNAME"] = "reader"  # who has reviewed it, in the pictures
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=ROOT / "Resources", metavar="OUT")
    for path in make(parser.parse_args().output_dir):
        print(f"{path} ({path.stat().st_size // 1000} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
