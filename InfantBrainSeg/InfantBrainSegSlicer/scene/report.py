"""A result as one page to read and print: as the run judged it, with the edits since and with who looked it through."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import Tissue

from .nodes import ijk_to_ras, image_from_tissues, image_from_volume, make_image, to_array
from .options import Scans
from .provenance import told_of
from .results import TRANSFORM_ROLE, inputs_of
from .review import read_review
from .statistics import SegmentVolume, is_edited, measure_segments, shapes_of, tissues_made

if TYPE_CHECKING:
    import SimpleITK as sitk

    from InfantBrainSegLib.outputs.html_report import Picture
    from InfantBrainSegLib.pipeline.volumes import TissueVolume

_MM3_IN_ML = 1000.0
NOT_REVIEWED = "Nobody has marked it as reviewed."


def write_report(segmentation_node, path: str | Path) -> None:
    """Write a result as one HTML page, which names no node and no file.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    path : path

    Raises
    ------
    InputError
        If there is nothing to report, or the file cannot be written.
    """
    from InfantBrainSegLib.imaging.files import write_text
    from InfantBrainSegLib.outputs.html_report import page_of, to_html

    try:
        told = told_of(segmentation_node) or {}
        weights = {stage: {"sha256": sha256} for stage, sha256 in told["weights_sha256"].items()}
    except (ValueError, KeyError, AttributeError) as error:  # the text can be edited
        raise InputError(
            "The chosen segmentation has no provenance of a run; wanted a result of this module: choose one, or press Segment."
        ) from error
    volumes, tissues = measure_segments(segmentation_node), tissues_made(segmentation_node)
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    edited = _measured(volumes, tissues) if _are_edited(volumes, tissues) else []
    page = page_of({**told, "weights": weights}, _pictures(segmentation_node), edited, made, _review(segmentation_node, volumes))
    write_text(to_html(page), path)


def _are_edited(volumes: list[SegmentVolume], made: tuple[Tissue, ...]) -> bool:
    """Whether a tissue went, or is not as the run made it."""
    tissues = {volume.segment_id: volume for volume in volumes if volume.segment_id in {tissue.short_name for tissue in made}}
    return len(tissues) < len(made) or any(math.isnan(volume.automatic_mm3) or is_edited(volume) for volume in tissues.values())


def _measured(volumes: list[SegmentVolume], tissues: tuple[Tissue, ...]) -> list[TissueVolume]:
    """Give the tissues as they are now; how sure the networks were holds for the automatic ones alone."""
    from InfantBrainSegLib.pipeline.volumes import TissueVolume

    found = {volume.segment_id: (volume.voxels, volume.volume_mm3) for volume in volumes}
    rows = [(tissue.short_name, *found.get(tissue.short_name, (0, 0.0))) for tissue in tissues]
    total = sum(voxels for _, voxels, _ in rows)
    return [TissueVolume(name, voxels, mm3, mm3 / _MM3_IN_ML, voxels / total if total else 0.0, None) for name, voxels, mm3 in rows]


def _review(segmentation_node, volumes: list[SegmentVolume]) -> str:
    review = read_review(segmentation_node)
    if review is None:
        return NOT_REVIEWED
    edited = review.shapes != shapes_of(volumes)
    return f"Reviewed by {review.by}, {review.utc[:16].replace('T', ' ')} UTC.{' Edited since.' if edited else ''}"


def _pictures(segmentation_node) -> list[Picture]:
    """Draw the scans with the tissues as they are now, as far as the scans are still in the scene."""
    from InfantBrainSegLib.outputs.html_report import PICTURE_ALT, PICTURE_CAPTION, Picture
    from InfantBrainSegLib.outputs.overview import draw_overview, without_legend, write_overview

    scans = inputs_of(segmentation_node)
    scans = Scans(*(node if node is not None and node.GetImageData() is not None else None for node in (scans.t1, scans.t2)))
    if scans.main is None:
        return []
    t1 = None if scans.t1 is None else image_from_volume(scans.t1)
    t2 = None if scans.t2 is None else _t2_in_place(segmentation_node, scans.t2)
    picture = draw_overview(t1, t2, image_from_tissues(segmentation_node, scans.main), ())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "overview.png"
        write_overview(without_legend(picture), path)
        return [Picture(path.read_bytes(), PICTURE_ALT, PICTURE_CAPTION)]


def _t2_in_place(segmentation_node, t2) -> sitk.Image:
    """Copy T2 to where the run found it."""
    import vtk

    transform = segmentation_node.GetNodeReference(TRANSFORM_ROLE)
    image = image_from_volume(t2)
    if transform is None:
        return image
    import SimpleITK as sitk

    to_world = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(to_world)
    return make_image(sitk.GetArrayFromImage(image), to_array(to_world) @ ijk_to_ras(t2))
