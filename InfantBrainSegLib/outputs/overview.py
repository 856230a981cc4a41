"""One picture to judge a result by: axial, coronal and sagittal slices of T1, T2 and the labels over T1, with the volumes.

Slices are shown as a radiologist hangs them: the patient's right on the left, the front up in axial slices, the head up in the others.
The letters are drawn from the patient's axes, never from array order. VTK draws the text into an image, without any window or OpenGL.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from ..core.errors import InputError
from ..core.labels import BACKGROUND, TISSUES
from ..imaging.files import itk_name
from ..pipeline.volumes import TissueVolume
from .publishing import deferred_signals

if TYPE_CHECKING:
    from ..pipeline.segmenter import Segmentation  # needs torch, and the picture does not

PANEL_PIXELS = 300  # edge of one panel: three of them and margins fit a laptop's screen
GAP_PIXELS = 8
HEADER_PIXELS = 34
LEGEND_PIXELS = 64
MARGIN_MM = 8.0  # round the brain
LABEL_OPACITY = 0.45  # T1 stays readable beneath
WINDOW_QUARTILE_RANGES = 3.0  # each side of the brain's median
INK = (235, 235, 235)
DIM_INK = (165, 165, 165)
FONT_PIXELS = 16


@dataclass(frozen=True)
class View:
    """How one plane is hung; axes are unit vectors in LPS.

    Attributes
    ----------
    name : str
    right, down : tuple of int
        Patient direction towards the picture's right and bottom.
    letters : tuple of str
        At the left, right, top and bottom edges.
    offset : float
        How far from the brain's centre the slice lies along `normal`, as a share of the picture's edge.
    """

    name: str
    right: tuple[int, int, int]
    down: tuple[int, int, int]
    letters: tuple[str, str, str, str]
    offset: float = 0.0

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit vector through the slice."""
        return np.cross(self.right, self.down)


VIEWS = (
    View("Axial", (1, 0, 0), (0, 1, 0), ("R", "L", "A", "P")),
    View("Coronal", (1, 0, 0), (0, 0, -1), ("R", "L", "S", "I")),
    View("Sagittal", (0, 1, 0), (0, 0, -1), ("A", "P", "S", "I"), offset=0.12),  # off the midline: the falx and its fluid show little
)


def draw_overview(t1: sitk.Image | None, t2: sitk.Image | None, labels: sitk.Image, volumes: Sequence[TissueVolume]) -> np.ndarray:
    """Draw the picture.

    Parameters
    ----------
    t1, t2, labels : 3D sitk.Image
        On one grid or on several: they meet in physical space. The panels of an absent T1 or T2 stay black.
    volumes : sequence of TissueVolume

    Returns
    -------
    (H, W, 3) uint8 array
    """
    center_mm, extent_mm = _brain_box(labels)
    under = 0 if t1 is not None else 1  # which of the two the labels are laid over
    columns = [f"{name}{' (not given)' if scan is None else ''}" for name, scan in (("T1", t1), ("T2", t2))]
    columns.append(f"Labels over {('T1', 'T2')[under]}")
    width = len(columns) * (PANEL_PIXELS + GAP_PIXELS) + GAP_PIXELS
    height = HEADER_PIXELS + len(VIEWS) * (PANEL_PIXELS + GAP_PIXELS) + LEGEND_PIXELS
    picture = np.zeros((height, width, 3), np.uint8)
    windows = [(0.0, 1.0) if scan is None else _gray_window(scan, labels) for scan in (t1, t2)]
    for column, title in enumerate(columns):
        _write_text(picture, title, (GAP_PIXELS + column * (PANEL_PIXELS + GAP_PIXELS) + PANEL_PIXELS // 2, HEADER_PIXELS // 2), INK)
    for row, view in enumerate(VIEWS):
        grid = _slice_grid(view, center_mm, extent_mm)
        shown = [_gray(_slice(scan, grid, sitk.sitkLinear), window) for scan, window in zip((t1, t2), windows, strict=True)]
        overlaid = _overlay(shown[under], _slice(labels, grid, sitk.sitkNearestNeighbor))
        top = HEADER_PIXELS + row * (PANEL_PIXELS + GAP_PIXELS)
        for column, panel in enumerate((*shown, overlaid)):
            left = GAP_PIXELS + column * (PANEL_PIXELS + GAP_PIXELS)
            picture[top : top + PANEL_PIXELS, left : left + PANEL_PIXELS] = panel
            _mark_sides(picture, view, left, top)
    _write_legend(picture, volumes)
    return picture


def without_legend(picture: np.ndarray) -> np.ndarray:
    """Cut off the volumes below a drawn picture, for a page that shows them beside it: (H, W, 3) to (h, W, 3)."""
    return picture[:-LEGEND_PIXELS]


def load_drawing() -> None:
    """Import what draws text before the computation: a signal then waits for it, and memory is there. If it fails, drawing will say so."""
    with deferred_signals(), contextlib.suppress(ImportError):
        _drawing_tools()


def try_overview(result: Segmentation, path: str | Path) -> list[str]:
    """Draw and write the picture of a result; where VTK cannot be loaded, the result does without.

    Returns
    -------
    list of str
        A warning where there is no picture.
    """
    try:
        write_overview(draw_overview(result.t1, result.t2, result.labels, result.volumes), path)
    except ImportError as error:
        return [f"There is no overview picture, because VTK cannot be loaded ({error}); all else is written."]
    return []


def write_overview(picture: np.ndarray, path: str | Path) -> None:
    """Write a picture as PNG.

    Parameters
    ----------
    picture : (H, W, 3) uint8 array
    path : path
    """
    try:
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), itk_name(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be written: choose a folder that exists, has room and may be written to.") from error


def _brain_box(labels: sitk.Image) -> tuple[np.ndarray, float]:
    """Centre of the labelled brain and the edge of the square that holds any slice of it, LPS mm."""
    inside = np.argwhere(sitk.GetArrayViewFromImage(labels) != BACKGROUND)[:, ::-1]  # (N, 3) in (X, Y, Z)
    if inside.size == 0:
        inside = np.array([[0, 0, 0], np.array(labels.GetSize()) - 1])
    low, high = inside.min(0), inside.max(0)
    corners = np.array(
        [
            labels.TransformContinuousIndexToPhysicalPoint([float((low, high)[bit >> axis & 1][axis]) for axis in range(3)])
            for bit in range(8)
        ]
    )
    low_mm, high_mm = corners.min(0), corners.max(0)
    return (low_mm + high_mm) / 2, float((high_mm - low_mm).max() + 2 * MARGIN_MM)


def _slice_grid(view: View, center_mm: np.ndarray, extent_mm: float) -> sitk.Image:
    """Grid of one slice, as an image without content that is one voxel thick."""
    pixel_mm = extent_mm / PANEL_PIXELS
    right, down = np.array(view.right), np.array(view.down)
    center = center_mm + view.offset * extent_mm * view.normal
    grid = sitk.Image(PANEL_PIXELS, PANEL_PIXELS, 1, sitk.sitkUInt8)
    grid.SetSpacing((pixel_mm, pixel_mm, 1.0))
    grid.SetDirection(np.stack([right, down, view.normal], 1).astype(float).ravel().tolist())
    grid.SetOrigin((center - (right + down) * pixel_mm * (PANEL_PIXELS - 1) / 2).tolist())
    return grid


def _slice(image: sitk.Image | None, grid: sitk.Image, interpolator: int) -> np.ndarray:
    if image is None:
        return np.zeros((PANEL_PIXELS, PANEL_PIXELS), np.uint8)
    sampled = sitk.Resample(image, grid, sitk.Transform(), interpolator, 0.0, image.GetPixelID())
    return sitk.GetArrayFromImage(sampled)[0]  # (down, right)


def _gray_window(image: sitk.Image, labels: sitk.Image) -> tuple[float, float]:
    """Intensities that become black and white: those round GM and WM, so that fluid and vessels do not take the contrast."""
    values = sitk.GetArrayViewFromImage(image)
    same_size = image.GetSize() == labels.GetSize()
    brain = values[sitk.GetArrayViewFromImage(labels) != BACKGROUND] if same_size else values[values != 0]
    if brain.size == 0:
        return 0.0, 1.0
    low, first, middle, third, high = np.percentile(brain, (0.5, 25, 50, 75, 99.5))
    reach = WINDOW_QUARTILE_RANGES * max(third - first, 0.1 * (high - low))
    return float(max(low, middle - reach)), float(min(high, middle + reach))


def _gray(plane: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    gray = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=2)  # (P, P, 3)


def _overlay(panel: np.ndarray, labels: np.ndarray) -> np.ndarray:
    colored = panel.astype(np.float32)
    for tissue in TISSUES:
        inside = labels == tissue.value
        colored[inside] = (1 - LABEL_OPACITY) * colored[inside] + LABEL_OPACITY * np.array(tissue.color, np.float32)
    return colored.astype(np.uint8)


def _mark_sides(picture: np.ndarray, view: View, left: int, top: int) -> None:
    middle, far = PANEL_PIXELS // 2, PANEL_PIXELS - 12
    places = ((12, middle), (far, middle), (middle, 12), (middle, far))
    for letter, (x, y) in zip(view.letters, places, strict=True):
        _write_text(picture, letter, (left + x, top + y), DIM_INK)


def _write_legend(picture: np.ndarray, volumes: Sequence[TissueVolume]) -> None:
    by_name = {volume.tissue: volume for volume in volumes}
    top = picture.shape[0] - LEGEND_PIXELS
    column_pixels = picture.shape[1] // len(TISSUES)
    for index, tissue in enumerate(TISSUES):
        left = index * column_pixels + 2 * GAP_PIXELS
        picture[top + 14 : top + 30, left : left + 16] = tissue.color
        volume = by_name.get(tissue.short_name)
        text = tissue.short_name if volume is None else f"{tissue.short_name}  {volume.volume_ml:.1f} ml  ({100 * volume.fraction:.0f} %)"
        _write_text(picture, text, (left + 26, top + 22), INK, centered=False)
    note = "Research use only. The patient's right is on the left of axial and coronal slices."
    _write_text(picture, note, (picture.shape[1] // 2, top + 50), DIM_INK)


def _write_text(picture: np.ndarray, text: str, place: tuple[int, int], color: tuple[int, int, int], centered: bool = True) -> None:
    """Blend a line of text into a picture; `place` is its middle, or the middle of its left edge."""
    drawn = _text_opacity(text)  # (h, w)
    left = place[0] - drawn.shape[1] // 2 if centered else place[0]
    top = place[1] - drawn.shape[0] // 2
    under = picture[max(top, 0) : top + drawn.shape[0], max(left, 0) : left + drawn.shape[1]]
    opacity = drawn[: under.shape[0], : under.shape[1], None].astype(np.float32) / 255
    under[:] = (under * (1 - opacity) + np.array(color, np.float32) * opacity).astype(np.uint8)


def _text_opacity(text: str) -> np.ndarray:
    """Give a line of text as (h, w) uint8 opacities."""
    vtk_to_numpy, vtkImageData, vtkTextProperty, vtkFreeTypeTools = _drawing_tools()
    look = vtkTextProperty()
    look.SetFontFamilyToArial()
    look.SetFontSize(FONT_PIXELS)
    look.SetColor(1.0, 1.0, 1.0)
    tools = vtkFreeTypeTools.GetInstance()
    tools.ScaleToPowerTwoOff()
    image = vtkImageData()
    dots_per_inch = 72  # a font size is then in pixels
    if not tools.RenderString(look, text, dots_per_inch, image, [0, 0]):
        return np.zeros((1, 1), np.uint8)
    width, height, _ = image.GetDimensions()
    rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return np.ascontiguousarray(rgba[::-1, :, 3])  # VTK's rows go upwards


def _drawing_tools() -> tuple[Any, ...]:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkRenderingCore import vtkTextProperty
    from vtkmodules.vtkRenderingFreeType import vtkFreeTypeTools

    return vtk_to_numpy, vtkImageData, vtkTextProperty, vtkFreeTypeTools
