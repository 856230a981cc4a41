"""The results in the panel, read from the statistics table of the scene, so that they come back with a saved scene."""

import math

import qt
from slicer.i18n import tr as _

from InfantBrainSegLib.core.labels import TISSUES

from ..scene.statistics import texts

VOLUME, AUTOMATIC, CONFIDENCE = "Volume cm3", "Automatic volume cm3", "Mean confidence"
SWATCH_PX = 12
ROW_PX = 24


def fill_results_table(widget, table_node) -> str:
    """Show a statistics table.

    Parameters
    ----------
    widget : qt.QTableWidget
    table_node : vtkMRMLTableNode, optional
        As the logic makes it: one row a segment.

    Returns
    -------
    str
        A line with the total; empty when there is nothing to show.
    """
    volumes = _numbers(table_node, VOLUME)
    if not volumes:
        return ""
    names = texts(table_node, "Segment")
    automatic, confidence = _numbers(table_node, AUTOMATIC), _numbers(table_node, CONFIDENCE)
    total = sum(volumes)
    columns = [(_("Tissue"), names), (_("Volume (ml)"), [_shown(volume, ".1f") for volume in volumes])]
    if automatic:
        columns.append((_("Automatic (ml)"), [_shown(volume, ".1f") for volume in automatic]))
        columns.append((_("Change (ml)"), [_shown(now - before, "+.1f") for now, before in zip(volumes, automatic, strict=True)]))
    else:
        columns.append((_("Share"), [_shown(volume / total if total else math.nan, ".1%") for volume in volumes]))
    if confidence:
        columns.append((_("Confidence"), [_shown(value, ".0%") for value in confidence]))
    _fill(widget, columns)
    return _("{total} ml in all").format(total=_shown(total, ".1f"))


def _shown(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _numbers(table_node, name: str) -> list[float]:
    return [_number(text) for text in texts(table_node, name)]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # an empty cell of an edited table


def _fill(widget, columns: list[tuple[str, list[str]]]) -> None:
    widget.setColumnCount(len(columns))
    widget.setRowCount(len(columns[0][1]))
    widget.setWordWrap(False)
    widget.verticalHeader().setDefaultSectionSize(ROW_PX)
    widget.setHorizontalHeaderLabels([title for title, _values in columns])
    colors = {tissue.name: tissue.color for tissue in TISSUES}
    for index, (_title, values) in enumerate(columns):
        for row, text in enumerate(values):
            item = qt.QTableWidgetItem(text)
            if index == 0 and text in colors:
                item.setIcon(_swatch(colors[text]))
            elif index > 0:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            widget.setItem(row, index, item)
        widget.horizontalHeader().setSectionResizeMode(index, qt.QHeaderView.Stretch if index == 0 else qt.QHeaderView.ResizeToContents)
    height = widget.horizontalHeader().height + sum(widget.rowHeight(row) for row in range(len(columns[0][1]))) + 2
    widget.setFixedHeight(height)


def _swatch(color: tuple[int, int, int]):
    pixmap = qt.QPixmap(SWATCH_PX, SWATCH_PX)
    pixmap.fill(qt.QColor(*color))
    return qt.QIcon(pixmap)
