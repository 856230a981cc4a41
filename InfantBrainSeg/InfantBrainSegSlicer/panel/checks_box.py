"""The table of checks in the panel: what was found, what is wanted, and what to do where a check does not pass."""

import html

from slicer.i18n import tr as _

from InfantBrainSegLib.core.check import PASS, STOP, WARN, Check

from .messages import checks_title, sentence

COLORS = {PASS: "#d8efdc", WARN: "#fff4d6", STOP: "#fdecea"}
_WORST_FIRST = (STOP, WARN, PASS)


class ChecksBox:
    """Shows a list of checks, the worst first.

    Parameters
    ----------
    ui : object
        Has `checksCollapsibleButton`, `checksText` and `checksLabel`.
    """

    def __init__(self, ui):
        self._ui = ui
        self._shown: tuple[Check, ...] = ()

    def show(self, checks: tuple[Check, ...], caption: str) -> None:
        """Show checks.

        Parameters
        ----------
        checks : tuple of Check
        caption : str
            Says what was checked, and when.
        """
        self._ui.checksLabel.text = caption
        if checks != self._shown:
            self._shown = checks
            self._ui.checksCollapsibleButton.text = checks_title(checks)
            self._ui.checksText.setHtml(checks_html(checks) if checks else "")
            self._ui.checksText.visible = bool(checks)


def checks_html(checks: tuple[Check, ...]) -> str:
    """Set checks as a table, the worst first, each remedy in a row of its own; what comes from outside is escaped."""
    statuses = {PASS: _("Pass"), WARN: _("Warn"), STOP: _("Stop")}
    columns = ((_("Check"), 24), ("", 10), (_("Found"), 34), (_("Wanted"), 32))  # title and per cent of the width
    titles = "".join(f'<th align="left" width="{percent}%">{html.escape(title)}</th>' for title, percent in columns)
    rows = []
    for check in sorted(checks, key=lambda check: _WORST_FIRST.index(check.status)):
        color = f'style="background: {COLORS[check.status]}; color: black;"'
        name, found, wanted, remedy = (html.escape(sentence(text)) for text in (check.name, check.found, check.wanted, check.remedy))
        rows.append(f"<tr><td>{name}</td><td {color}>{html.escape(statuses[check.status])}</td><td>{found}</td><td>{wanted}</td></tr>")
        if remedy:
            rows.append(f'<tr><td colspan="4" {color}>{remedy}.</td></tr>')
    return f'<table width="100%" cellspacing="0" cellpadding="3"><tr>{titles}</tr>{"".join(rows)}</table>'
