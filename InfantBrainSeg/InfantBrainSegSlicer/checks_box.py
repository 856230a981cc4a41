"""The gatekeeper's table in the panel: what was measured, what is wanted, and what to do where a check does not pass."""

import qt
from slicer.i18n import tr as _

from InfantBrainSegLib.checks import PASS, STOP, WARN, Check

from .messages import checks_title

COLORS = {PASS: "#d8efdc", WARN: "#fff4d6", STOP: "#fdecea"}
_WORST_FIRST = (STOP, WARN, PASS)


class ChecksBox:
    """Shows a list of checks, the worst first.

    Parameters
    ----------
    ui : object
        Has `checksCollapsibleButton`, `checksTable` and `checksLabel`.
    """

    def __init__(self, ui):
        self._ui = ui
        self._shown: tuple[Check, ...] = ()
        table = ui.checksTable
        titles = [_("Check"), _("Result"), _("Found"), _("Wanted")]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        for column in range(len(titles)):
            mode = qt.QHeaderView.Stretch if column >= 2 else qt.QHeaderView.ResizeToContents
            table.horizontalHeader().setSectionResizeMode(column, mode)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)

    def show(self, checks: tuple[Check, ...], caption: str) -> None:
        """Show checks.

        Parameters
        ----------
        checks : tuple of Check
        caption : str
            Says what was checked, and when.
        """
        self._ui.checksLabel.text = caption
        if checks == self._shown:
            return
        self._shown = checks
        self._ui.checksCollapsibleButton.text = checks_title(checks)
        table = self._ui.checksTable
        table.clearSpans()
        table.setRowCount(0)
        for check in sorted(checks, key=lambda check: _WORST_FIRST.index(check.status)):
            self._add_row(check)
        table.visible = bool(checks)

    def _add_row(self, check: Check) -> None:
        table = self._ui.checksTable
        row = table.rowCount
        table.setRowCount(row + 1 + bool(check.remedy))
        words = {PASS: _("Pass"), WARN: _("Warn"), STOP: _("Stop")}
        for column, text in enumerate((_sentence(check.name), words[check.status], check.measured, check.limit)):
            table.setItem(row, column, _item(text, COLORS[check.status] if column == 1 else ""))
        if check.remedy:
            table.setItem(row + 1, 0, _item(_sentence(check.remedy), COLORS[check.status]))
            table.setSpan(row + 1, 0, 1, table.columnCount)


def _item(text: str, background: str):
    item = qt.QTableWidgetItem(text)
    item.setTextAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
    if background:
        item.setBackground(qt.QBrush(qt.QColor(background)))
        item.setForeground(qt.QBrush(qt.QColor("black")))
    return item


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
