"""The results in the panel, read from the statistics table of the scene, so that they come back with a saved scene."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace

import qt
from slicer.i18n import tr as _

from InfantBrainSegLib.core.labels import GM, WM, Tissue

from ..scene.follow_up import DIFFERENCE, EARLIER, LATER, MONTHLY
from ..scene.statistics import texts, tissue_names
from .messages import number

VOLUME, AUTOMATIC, CONFIDENCE = "Volume cm3", "Automatic volume cm3", "Mean confidence"
SWATCH_PX = 12
ROW_PX, TWO_LINES_PX = 24, 38
COLUMNS_BESIDE_NAMES = 3  # with more of them a name has two lines
RATIO = "GM/WM"


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes
    ----------
    title, tip : str
        For the panel, whose width is small.
    name : str
        For a file.
    form : str
        How numbers show.
    values : list of float
        NaN where there is none.
    """

    title: str
    tip: str
    name: str
    form: str
    values: list[float]

    def shown(self) -> list[str]:
        """Give the cells."""
        return ["-" if math.isnan(value) else number(value, self.form) for value in self.values]


@dataclass(frozen=True)
class Results:
    """The numbers of one segmentation.

    Attributes
    ----------
    names : list of str
        Of the rows: the segments, then the ratio of gray to white matter where both are there.
    columns : list of Column
    total_ml : float
    tissues : dict
        The tissue of each row that is of one, by the row's name.
    """

    names: list[str]
    columns: list[Column]
    total_ml: float
    tissues: dict[str, Tissue]

    @property
    def ratio(self) -> float:
        """Gray to white matter as it is now; NaN where it is not known."""
        (now,) = (column.values for column in self.columns if column.name == "volume_ml")
        return now[-1] if self.names[-1] == RATIO else math.nan


def read_results(table_node, segmentation_node=None) -> Results | None:
    """Read a statistics table as the logic makes it, one row a segment.

    Parameters
    ----------
    table_node : vtkMRMLTableNode or None
    segmentation_node : vtkMRMLSegmentationNode, optional
        What the table measured: knows its tissues under other names too.

    Returns
    -------
    Results, or None where there is nothing to show
    """
    volumes = _numbers(table_node, VOLUME)
    if not volumes:
        return None
    names = texts(table_node, "Segment")
    automatic, confidence = _numbers(table_node, AUTOMATIC), _numbers(table_node, CONFIDENCE)
    total = sum(volumes)
    shares = [volume / total if total else math.nan for volume in volumes]
    columns = [
        Column(_("ml"), _("Volume, and the ratio of gray to white matter"), "volume_ml", ".1f", volumes),
        Column(_("Share"), _("Of all segments together"), "share", ".1%", shares),
    ]
    if confidence:
        tip = _("Mean probability that the network gave to this tissue, before any edit")
        columns.append(Column(_("Conf."), tip, "mean_confidence", ".0%", confidence))
    if automatic:
        changes = [now - before for now, before in zip(volumes, automatic, strict=True)]
        columns.append(Column(_("Auto"), _("Volume before any edit, ml"), "automatic_ml", ".1f", automatic))
        columns.append(Column(_("Edited"), _("Change by edits, ml"), "change_ml", "+.1f", changes))
    tissues = tissue_names(segmentation_node)
    rows = [tissues.get(name) for name in names]
    now, before = _ratio(rows, volumes), _ratio(rows, automatic)
    if not math.isnan(now):
        ratios = {"volume_ml": now, "automatic_ml": before, "change_ml": now - before}
        columns = [replace(column, values=[*column.values, ratios.get(column.name, math.nan)]) for column in columns]
        names = [*names, RATIO]
    return Results(names, columns, total, tissues)


def read_follow_up(table_node) -> Results | None:
    """Read a comparison of two results as the logic makes it, one row a tissue and one for all.

    Parameters
    ----------
    table_node : vtkMRMLTableNode or None

    Returns
    -------
    Results, or None where there is nothing to show
    """
    later = _numbers(table_node, LATER)
    if not later:
        return None
    columns = [
        Column(_("Earlier"), _("Volume of the earlier result, ml"), "earlier_ml", ".1f", _numbers(table_node, EARLIER)),
        Column(_("Now"), _("Volume of this result, ml"), "volume_ml", ".1f", later),
        Column(_("Change"), _("In between, ml"), "change_ml", "+.1f", _numbers(table_node, DIFFERENCE)),
        Column(_("A month"), _("Change by the months between the two ages, ml"), "monthly_ml", "+.1f", _numbers(table_node, MONTHLY)),
    ]
    return Results(texts(table_node, "Segment"), columns, later[-1], tissue_names(None))


def _ratio(rows: list[Tissue | None], volumes: list[float]) -> float:
    """Gray to white matter; NaN where one of them is missing."""
    found = dict(zip(rows, volumes, strict=False))
    gray, white = found.get(GM, math.nan), found.get(WM, math.nan)
    return gray / white if white > 0 else math.nan


def as_text(results: Results, delimiter: str) -> str:
    """Give the numbers for a spreadsheet, with three decimals and no name of a node.

    Parameters
    ----------
    results : Results
    delimiter : str
        A comma for a CSV file, a tabulator for the clipboard.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["tissue", *(column.name for column in results.columns)])
    cells = [["" if math.isnan(value) else f"{value:.3f}" for value in column.values] for column in results.columns]
    writer.writerows(zip(results.names, *cells, strict=True))
    return text.getvalue()


def fill_results_table(widget, results: Results) -> None:
    """Show numbers in the panel's QTableWidget."""
    longest_word = max(len(word) for name in results.names for word in (*name.split(), ""))
    narrow = len(results.columns) > COLUMNS_BESIDE_NAMES  # the longest word fits beside the numbers, a longer name needs two lines
    rows_px = [TWO_LINES_PX if narrow and len(name) > longest_word else ROW_PX for name in results.names]
    widget.setColumnCount(1 + len(results.columns))
    widget.setRowCount(len(results.names))
    widget.setWordWrap(True)
    widget.setTextElideMode(qt.Qt.ElideNone)
    widget.verticalHeader().setDefaultSectionSize(ROW_PX)
    widget.horizontalHeader().setMinimumSectionSize(20)
    for row, name in enumerate(results.names):
        item = qt.QTableWidgetItem(name)
        if name in results.tissues:
            item.setIcon(_swatch(results.tissues[name].color))
        widget.setItem(row, 0, item)
    widget.setHorizontalHeaderItem(0, qt.QTableWidgetItem(_("Tissue")))
    for index, column in enumerate(results.columns, start=1):
        title = qt.QTableWidgetItem(column.title)
        title.setToolTip(column.tip)
        widget.setHorizontalHeaderItem(index, title)
        cells = column.shown()
        if results.names[-1] == RATIO:
            cells[-1] = _shown_ratio(column)
        for row, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            widget.setItem(row, index, item)
    for row, row_px in enumerate(rows_px):
        widget.setRowHeight(row, row_px)
    for index in range(1 + len(results.columns)):
        widget.horizontalHeader().setSectionResizeMode(index, qt.QHeaderView.Stretch if index == 0 else qt.QHeaderView.ResizeToContents)
    widget.setFixedHeight(widget.horizontalHeader().height + sum(rows_px) + 2)


def _shown_ratio(column: Column) -> str:
    value = column.values[-1]
    return "" if math.isnan(value) else number(value, "+.2f" if column.name == "change_ml" else ".2f")


def _numbers(table_node, name: str) -> list[float]:
    return [_number(text) for text in texts(table_node, name)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # an empty cell of an edited table


def _swatch(color: tuple[int, int, int]):
    pixmap = qt.QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(qt.QColor(*color))
    return qt.QIcon(pixmap)
