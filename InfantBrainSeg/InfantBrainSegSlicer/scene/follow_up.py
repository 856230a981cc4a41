"""Two results of one child: how much of each tissue came in between. Nothing is registered: volumes alone are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from InfantBrainSegLib.core.errors import InputError
from InfantBrainSegLib.core.labels import TISSUES

from .guess import of_patient
from .provenance import read_record
from .results import inputs_of
from .scene_edit import add_node, place_beside, undone_on_failure
from .statistics import Column, fill_table, measure_segments

_MM3_IN_ML = 1000.0
EARLIER_ROLE = "InfantBrainSeg.Earlier"
TABLE_ROLE, POINTS_ROLE, CHART_ROLE = (f"InfantBrainSeg.FollowUp{name}" for name in ("Table", "Points", "Chart"))
SERIES_ROLE = "InfantBrainSeg.FollowUpSeries"  # then the tissue's short name
EARLIER, LATER, DIFFERENCE, MONTHLY = "Earlier cm3", "Later cm3", "Difference cm3", "Per month cm3"  # columns
ALL_TISSUES = "All tissues"


@dataclass(frozen=True)
class FollowUp:
    """Where the comparison is.

    Attributes
    ----------
    table : vtkMRMLTableNode
        A row for each tissue and one for all of them: earlier, later, difference, and difference a month.
    chart : vtkMRMLPlotChartNode or None
        Volumes by age; None where an age is not known, or both are the same.
    months : float
        Between the ages; NaN where one is not known.
    two_patients : bool
        Whether the scene has them under two patients.
    """

    table: Any
    chart: Any
    months: float = math.nan
    two_patients: bool = False


def compare(earlier, later) -> FollowUp:
    """Compare a result with an earlier one of the same child; a second call fills the same nodes.

    Parameters
    ----------
    earlier, later : vtkMRMLSegmentationNode or None

    Raises
    ------
    InputError
        If one of them has no tissue of ours, both are the same, or the earlier one is of an older child.
    """
    if earlier is None or later is None or earlier is later:
        raise InputError("Wanted two results to compare, an earlier one and this one: choose another segmentation as the earlier one.")
    before, after = _volumes_ml(earlier), _volumes_ml(later)
    ages = _age_months(earlier), _age_months(later)
    months = ages[1] - ages[0]
    if months < 0:
        raise InputError(
            f"'{earlier.GetName()}' is of {ages[0]:g} months and '{later.GetName()}' of {ages[1]:g}; "
            "wanted the earlier result to be of the younger age: exchange them, or mend the ages and segment again."
        )
    scene, name = later.GetScene(), f"{later.GetName()} follow-up"
    rows = [[*row, row[2] - row[1]] for row in zip([*before], before.values(), after.values(), strict=True)]
    rows = [[*row, row[3] / months if months else math.nan] for row in rows]
    with undone_on_failure(scene) as keep:
        table = _own(later, TABLE_ROLE, "vtkMRMLTableNode", name)
        keep(table)
        fill_table(table, _columns(), rows)
        chart = _plot(later, name, ages, (before, after)) if months > 0 else None
        later.SetNodeReferenceID(CHART_ROLE, chart.GetID() if chart is not None else None)
        later.SetNodeReferenceID(EARLIER_ROLE, earlier.GetID())
        scan = inputs_of(later).main
        if scan is not None:
            place_beside(scan, [node for node in (table, chart) if node is not None])
    return FollowUp(table, chart, months, _two_patients(earlier, later))


def comparison_of(earlier, later) -> Any:
    """Give the table of an earlier call of `compare` with these results, or None."""
    if earlier is None or later is None or later.GetNodeReference(EARLIER_ROLE) is not earlier:
        return None
    return later.GetNodeReference(TABLE_ROLE)


def show_chart(chart) -> None:
    """Show a chart in the layout, as far as this Slicer has plots."""
    plots = getattr(slicer.modules, "plots", None)
    if plots is not None:
        plots.logic().ShowChartInLayout(chart)


def _columns() -> list[Column]:
    return [
        Column("Segment", "Segment", kind=vtk.vtkStringArray),
        Column(EARLIER, "Earlier", "cm3", "Volume of the earlier result."),
        Column(LATER, "Later", "cm3", "Volume of this result."),
        Column(DIFFERENCE, "Difference", "cm3", "The later volume less the earlier one."),
        Column(MONTHLY, "Per month", "cm3", "The difference by the months between the two ages."),
    ]


def _plot(later, name: str, ages: tuple[float, float], volumes: tuple[dict[str, float], dict[str, float]]):
    """Fill a chart of each tissue's volume by age."""
    points = _own(later, POINTS_ROLE, "vtkMRMLTableNode", f"{name} by age")
    columns = [Column("Age", "Age", "months", "From birth at term."), *(Column(tissue.name, tissue.name, "cm3") for tissue in TISSUES)]
    fill_table(points, columns, [[age, *(of[tissue.name] for tissue in TISSUES)] for age, of in zip(ages, volumes, strict=True)])
    chart = _own(later, CHART_ROLE, "vtkMRMLPlotChartNode", f"{name} plot")
    chart.RemoveAllPlotSeriesNodeIDs()
    for tissue in TISSUES:
        series = _own(later, SERIES_ROLE + tissue.short_name, "vtkMRMLPlotSeriesNode", tissue.name)
        series.SetAndObserveTableNodeID(points.GetID())
        series.SetXColumnName("Age")
        series.SetYColumnName(tissue.name)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleCircle)
        series.SetColor(*(value / 255 for value in tissue.color))
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle("Volumes by age")
    chart.SetXAxisTitle("Age (months)")
    chart.SetYAxisTitle("Volume (ml)")
    return chart


def _own(node, role: str, class_name: str, name: str):
    """Give the node that the segmentation refers to in this role, or add it."""
    found = node.GetNodeReference(role)
    if found is None:
        found = add_node(node.GetScene(), class_name, name)
        node.SetNodeReferenceID(role, found.GetID())
    return found


def _volumes_ml(node) -> dict[str, float]:
    """Measure our tissues, and all of them together."""
    found = {volume.segment_id: volume.volume_mm3 / _MM3_IN_ML for volume in measure_segments(node)}
    if not any(tissue.short_name in found for tissue in TISSUES):
        raise InputError(f"'{node.GetName()}' holds no tissue of this module; wanted one of its results: choose another segmentation.")
    volumes = {tissue.name: found.get(tissue.short_name, 0.0) for tissue in TISSUES}
    return {**volumes, ALL_TISSUES: sum(volumes.values())}


def _two_patients(earlier, later) -> bool:
    """Whether the patients that the results lie under in the subject hierarchy have other identities."""
    patients = [of_patient(node, "DICOM.PatientID") for node in (earlier, later)]
    return all(patients) and patients[0] != patients[1]


def _age_months(node) -> float:
    """Give the age that the run was told; not a number where there was none."""
    age_months = read_record(node).age_months
    return math.nan if age_months is None else age_months
