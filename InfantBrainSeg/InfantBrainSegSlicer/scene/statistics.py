"""How much of each segment there is, as a table with the column names, units and codes of Slicer's Segment Statistics."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import slicer
import vtk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import TISSUES, Tissue

from .nodes import BINARY_LABELMAP, array_of, to_array, with_labelmaps

if TYPE_CHECKING:
    import numpy as np

AUTOMATIC_MM3_TAG = "InfantBrainSeg.AutomaticVolumeMm3"  # on the segment, so that it survives .seg.nrrd, .mrb and renaming
AUTOMATIC_SHAPE_TAG = "InfantBrainSeg.AutomaticShape"  # an edit can leave the volume as it was
CONFIDENCE_TAG = "InfantBrainSeg.MeanConfidence"
ALGORITHM_TYPE_TAG, ALGORITHM_NAME_TAG = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"  # what an export as DICOM SEG reads
AUTOMATIC_TYPE, EDITED_TYPE = "AUTOMATIC", "SEMIAUTOMATIC"  # DICOM's words
TABLE_ROLE = "InfantBrainSeg.Table"
TISSUES_ATTRIBUTE = "InfantBrainSeg.Tissues"  # short names; a .seg.nrrd file does not hold it
VOLUME_TOLERANCE = 1e-6  # of a volume: digits that a saved scene loses
_MM3_IN_CM3 = 1000.0


@dataclass(frozen=True)
class SegmentVolume:
    """One segment as it is now.

    Attributes
    ----------
    segment_id, name : str
    voxels : int
    volume_mm3 : float
    automatic_mm3 : float
        As it came out of the segmentation; NaN for a segment that did not.
    mean_confidence : float
        NaN where unknown.
    shape, automatic_shape : str
        Checksum of where the voxels lie to one another, wherever the whole lies; as it came out: empty where unknown.
    """

    segment_id: str
    name: str
    voxels: int
    volume_mm3: float
    automatic_mm3: float = math.nan
    mean_confidence: float = math.nan
    shape: str = ""
    automatic_shape: str = ""


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes
    ----------
    name, title, unit, description : str
        Slicer shows the title, and the unit in brackets after it.
    kind : vtkAbstractArray subclass
    properties : mapping of str to str
    """

    name: str
    title: str
    unit: str = ""
    description: str = ""
    kind: type = vtk.vtkDoubleArray
    properties: Mapping[str, str] = field(default_factory=dict)


def _code(value: str, scheme: str, meaning: str) -> str:
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(value, scheme, meaning)
    return entry.GetAsString()


def _volume_column(name: str, title: str, unit: str, description: str) -> Column:
    meaning = {"mm3": "cubic millimeter", "cm3": "cubic centimeter"}[unit]
    properties = {
        "Plugin": "Label Map",
        "DICOM.QuantityCode": _code("118565006", "SCT", "Volume"),
        "DICOM.UnitsCode": _code(unit, "UCUM", meaning),
        "DICOM.MeasurementMethodCode": _code("126030", "DCM", "Sum of segmented voxel volumes"),
    }
    return Column(name, title, unit, description, properties=properties)


def _standard_columns() -> list[Column]:
    counted = {
        "Plugin": "Label Map",
        "DICOM.QuantityCode": _code("nvoxels", "99QIICR", "Number of voxels"),
        "DICOM.UnitsCode": _code("voxels", "UCUM", "voxels"),
    }
    return [
        Column("Segment", "Segment", kind=vtk.vtkStringArray),
        Column("Voxel count", "Voxel count", "", "How many voxels the segment has.", vtk.vtkLongArray, counted),
        _volume_column("Volume mm3", "Volume", "mm3", "The segment's volume, from its voxels."),
        _volume_column("Volume cm3", "Volume", "cm3", "The segment's volume, from its voxels."),
    ]


def measure_segments(segmentation_node) -> list[SegmentVolume]:
    """Count each segment's voxels, in the segmentation's own space as Slicer's Segment Statistics does.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
        Not changed, also where its voxels must first be made from surfaces.

    Raises
    ------
    InputError
        If it has no segments.
    """
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        raise InputError(
            f"'{segmentation_node.GetName()}' has no segments; wanted a segmented brain: press Segment first, or choose another."
        )
    segmentation = with_labelmaps(segmentation)
    return [_measure(segment_id, segmentation.GetSegment(segment_id)) for segment_id in segmentation.GetSegmentIDs()]


def fill_automatic(table_node, volumes: list[SegmentVolume]) -> None:
    """Write the table of a fresh segmentation, with the network's confidence as a last column.

    Parameters
    ----------
    table_node : vtkMRMLTableNode, whose content is replaced
    volumes : list of SegmentVolume
    """
    fill_table(
        table_node, [*_standard_columns(), _confidence_column()], [[*_standard_cells(volume), volume.mean_confidence] for volume in volumes]
    )


def _confidence_column() -> Column:
    return Column(
        "Mean confidence",
        "Mean confidence",
        "",
        "Mean probability that the network gave to this tissue in its own voxels, before any edit.",
    )


def fill_comparison(table_node, volumes: list[SegmentVolume]) -> None:
    """Write the table of an edited segmentation: each segment now, as it came out, and the difference.

    Parameters
    ----------
    table_node : vtkMRMLTableNode, whose content is replaced
    volumes : list of SegmentVolume
    """
    columns = [
        *_standard_columns(),
        _volume_column("Automatic volume cm3", "Automatic volume", "cm3", "The volume before any editing."),
        _volume_column("Difference cm3", "Difference", "cm3", "The volume now less the automatic one."),
        Column("Difference percent", "Difference", "%", "The difference as a share of the automatic volume."),
        _confidence_column(),
    ]
    rows = []
    for volume in volumes:
        difference_mm3 = volume.volume_mm3 - volume.automatic_mm3
        percent = 100 * difference_mm3 / volume.automatic_mm3 if volume.automatic_mm3 > 0 else math.nan
        rows.append(
            [*_standard_cells(volume), volume.automatic_mm3 / _MM3_IN_CM3, difference_mm3 / _MM3_IN_CM3, percent, volume.mean_confidence]
        )
    fill_table(table_node, columns, rows)


def recompute(segmentation_node, table_node=None):
    """Measure a segmentation after edits.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode
    table_node : vtkMRMLTableNode, optional
        The one of the last run by default, or a new one. A table of another segmentation is left alone.

    Returns
    -------
    vtkMRMLTableNode

    Raises
    ------
    InputError
        If there is nothing to measure.
    """
    if segmentation_node is None or not segmentation_node.IsA("vtkMRMLSegmentationNode") or segmentation_node.GetScene() is None:
        raise InputError("No segmentation is chosen; wanted the one to measure: choose it under Outputs.")
    volumes = measure_segments(segmentation_node)
    table = own_table(segmentation_node, table_node)
    if table is None:
        scene = segmentation_node.GetScene()
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{segmentation_node.GetName()} volumes"))
    fill_comparison(table, volumes)
    for volume in volumes:
        if is_edited(volume):
            segmentation_node.GetSegmentation().GetSegment(volume.segment_id).SetTag(ALGORITHM_TYPE_TAG, EDITED_TYPE)
    segmentation_node.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    return table


def is_edited(volume: SegmentVolume) -> bool:
    """Whether a segment's volume or shape is other than a run made it; never where that is not known."""
    reshaped = bool(volume.automatic_shape) and volume.shape != volume.automatic_shape
    return reshaped or abs(volume.volume_mm3 - volume.automatic_mm3) > VOLUME_TOLERANCE * volume.automatic_mm3


def own_table(segmentation_node, chosen=None):
    """Give the table to write a segmentation's volumes to.

    Parameters
    ----------
    segmentation_node : vtkMRMLSegmentationNode or None
    chosen : vtkMRMLTableNode, optional

    Returns
    -------
    vtkMRMLTableNode or None
        The chosen one unless it is another segmentation's, else the one of this segmentation's last run; None where there is neither.
    """
    if chosen is not None and chosen.GetScene() is not None:
        scene, kind = chosen.GetScene(), "vtkMRMLSegmentationNode"
        segmentations = [scene.GetNthNodeByClass(index, kind) for index in range(scene.GetNumberOfNodesByClass(kind))]
        if all(node is segmentation_node for node in segmentations if node.GetNodeReference(TABLE_ROLE) is chosen):
            return chosen
    return segmentation_node.GetNodeReference(TABLE_ROLE) if segmentation_node is not None else None


@dataclass(frozen=True)
class Edit:
    """How a segmentation differs from what a run made and from what its table measured.

    Attributes
    ----------
    since_table : bool
        Whether a segment's voxels are other than the table's, or a segment came, went or has another name.
    changed_ml : dict of float
        Names of the segments that are not as a run made them, with the difference in volume; NaN for a tissue that was removed.
    shapes : dict of str
        Checksum of each segment as it is now, by its name.
    """

    since_table: bool = False
    changed_ml: Mapping[str, float] = field(default_factory=dict)
    shapes: Mapping[str, str] = field(default_factory=dict)


def tissue_names(segmentation_node) -> dict[str, Tissue]:
    """Give the tissue of each row of a table: by the name that its segment has now, which a person may change, and by its own."""
    ours = {tissue.short_name: tissue for tissue in TISSUES}
    segmentation = segmentation_node.GetSegmentation() if segmentation_node is not None else None
    found = [segment_id for segment_id in segmentation.GetSegmentIDs() if segment_id in ours] if segmentation is not None else []
    named = {segmentation.GetSegment(segment_id).GetName(): ours[segment_id] for segment_id in found}
    return {tissue.name: tissue for tissue in TISSUES if tissue not in named.values()} | named


def changes_of(segmentation_node) -> dict[str, float]:
    """Give what a person changed since the run, as `Edit.changed_ml`; nothing for a segmentation without segments."""
    if segmentation_node.GetSegmentation().GetNumberOfSegments() == 0:
        return {}
    return dict(_compare(measure_segments(segmentation_node), None, tissues_made(segmentation_node)).changed_ml)


def tissues_made(segmentation_node) -> tuple[Tissue, ...]:
    """Give the tissues that the networks of a result tell apart, whether they are still there or not."""
    names = segmentation_node.GetAttribute(TISSUES_ATTRIBUTE)
    return TISSUES if names is None else tuple(tissue for tissue in TISSUES if tissue.short_name in names.split())


class Edits:
    """Tells how a segmentation was edited; counts again only after a change of it or of its table."""

    def __init__(self):
        self._seen: tuple = ()
        self._answer = Edit()

    def of(self, segmentation_node, table_node=None) -> Edit:
        """Compare a segmentation with its table and with its automatic volumes.

        Parameters
        ----------
        segmentation_node : vtkMRMLSegmentationNode with segments
        table_node : vtkMRMLTableNode of its volumes, optional
        """
        segmentation = segmentation_node.GetSegmentation()
        table = table_node.GetTable() if table_node is not None else None
        segments = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
        labelmaps = [segment.GetRepresentation(BINARY_LABELMAP) for segment in segments]
        stamps = [thing.GetMTime() for thing in (*segments, *labelmaps, table) if thing is not None]
        seen = (segmentation_node.GetID(), table_node.GetID() if table_node is not None else "", *stamps)
        if seen != self._seen:
            self._seen, self._answer = seen, _compare(measure_segments(segmentation_node), table_node, tissues_made(segmentation_node))
        return self._answer


def _compare(volumes: list[SegmentVolume], table_node, tissues: tuple[Tissue, ...]) -> Edit:
    now = [(volume.name, str(volume.voxels)) for volume in volumes]
    measured = list(zip(texts(table_node, "Segment"), texts(table_node, "Voxel count"), strict=False))
    changed = {volume.name: (volume.volume_mm3 - volume.automatic_mm3) / _MM3_IN_CM3 for volume in volumes if is_edited(volume)}
    there = {volume.segment_id for volume in volumes if not math.isnan(volume.automatic_mm3)}
    changed |= {tissue.name: math.nan for tissue in tissues if there and tissue.short_name not in there}
    return Edit(bool(measured) and sorted(now) != sorted(measured), changed, shapes_of(volumes))


def shapes_of(volumes: list[SegmentVolume]) -> dict[str, str]:
    """Give the checksum of each segment by its name."""
    return {volume.name: volume.shape for volume in volumes}


def texts(table_node, name: str) -> list[str]:
    """Give the cells of a column as text; none where there is no such column or no table."""
    table = table_node.GetTable() if table_node is not None else None
    column = table.GetColumnByName(name) if table is not None else None
    return [column.GetVariantValue(row).ToString() for row in range(column.GetNumberOfValues())] if column is not None else []


def _standard_cells(volume: SegmentVolume) -> list:
    return [volume.name, volume.voxels, volume.volume_mm3, volume.volume_mm3 / _MM3_IN_CM3]


def _measure(segment_id: str, segment) -> SegmentVolume:
    import numpy as np

    labelmap = segment.GetRepresentation(BINARY_LABELMAP)
    voxels, volume_mm3, shape = 0, 0.0, _shape_of(np.zeros((0, 0, 0), bool))
    if labelmap is not None and labelmap.GetNumberOfPoints() > 0:
        to_world = vtk.vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(to_world)
        inside = array_of(labelmap) == segment.GetLabelValue()
        voxels, shape = int(np.count_nonzero(inside)), _shape_of(inside)
        volume_mm3 = voxels * abs(float(np.linalg.det(to_array(to_world)[:3, :3])))
    automatic, confidence = (_number_in_tag(segment, tag) for tag in (AUTOMATIC_MM3_TAG, CONFIDENCE_TAG))
    automatic_shape = _text_in_tag(segment, AUTOMATIC_SHAPE_TAG)
    return SegmentVolume(segment_id, segment.GetName(), voxels, volume_mm3, automatic, confidence, shape, automatic_shape)


def _shape_of(inside: np.ndarray) -> str:
    """Give the checksum of a (K, J, I) bool array, cropped: how much empty space a file or an effect leaves round it does not count."""
    import numpy as np

    from InfantBrainSegLib.imaging.resample import bounding_box

    cropped = inside[bounding_box(inside) or (slice(0, 0),) * 3]
    return f"{zlib.crc32(np.packbits(cropped).tobytes(), zlib.crc32(str(cropped.shape).encode())):08x}"


def _text_in_tag(segment, tag: str) -> str:
    text = vtk.reference("")
    return str(text) if segment.GetTag(tag, text) else ""


def _number_in_tag(segment, tag: str) -> float:
    try:
        return float(_text_in_tag(segment, tag))
    except ValueError:
        return math.nan


def fill_table(table_node, columns: list[Column], rows: list[list]) -> None:
    """Replace a table's content in one step.

    Parameters
    ----------
    table_node : vtkMRMLTableNode
    columns : list of Column
    rows : list of list
        A value for each column.
    """
    was_modifying = table_node.StartModify()
    try:
        table_node.RemoveAllColumns()
        for place, column in enumerate(columns):
            array = column.kind()
            array.SetName(column.name)
            array.SetNumberOfValues(len(rows))
            for index, row in enumerate(rows):
                array.SetValue(index, row[place])
            table_node.AddColumn(array)
            table_node.SetColumnTitle(column.name, column.title)
            table_node.SetColumnDescription(column.name, column.description)
            table_node.SetColumnUnitLabel(column.name, column.unit)
            for name, value in column.properties.items():
                table_node.SetColumnProperty(column.name, name, value)
        table_node.SetUseColumnTitleAsColumnHeader(True)
        table_node.Modified()
    finally:
        table_node.EndModify(was_modifying)
