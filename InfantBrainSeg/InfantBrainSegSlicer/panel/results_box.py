"""The results in the panel: the verdict with its reasons, a button for each place to look at, and the volumes."""

import qt

from ..scene.places import Place, jump_to, world_mm
from ..scene.provenance import Record, read_record
from ..scene.statistics import Edit, Edits, own_table
from . import messages
from .parameters import InfantBrainSegParameterNode
from .results_table import Results, fill_results_table, read_results

_FRAME = "background: {background}; color: black; border: 1px solid {border}; border-radius: 3px; padding: 5px;"
STYLES = {
    "accept": _FRAME.format(background="#e3f4e6", border="#86bf90"),
    "look": _FRAME.format(background="#fff4d6", border="#e3c36a"),
    "do not use": _FRAME.format(background="#fdecea", border="#e0a19b"),
}
EDITED_STYLE = _FRAME.format(background="#ededed", border="#b5b5b5")


class ResultsBox:
    """Shows what is known of the chosen segmentation, all of it from the scene, so that it comes back with a saved one.

    Parameters
    ----------
    ui : object
        Has the widgets of the results section, `show3DButton` and `recomputeButton`.

    Attributes
    ----------
    record : Record
        Of the segmentation that is shown.
    results : Results or None
        The numbers that are shown.
    """

    def __init__(self, ui):
        self._ui = ui
        self._segmentation = None
        self._buttons: list = []
        self._edits = Edits()
        self._changed_ml: dict[str, float] = {}
        self.record = Record()
        self.results: Results | None = None

    def show(self, node: InfantBrainSegParameterNode | None, running: bool) -> None:
        """Show the segmentation and the table that a parameter node names; during a run nothing is measured."""
        segmentation = node.outputSegmentation if node else None
        filled = segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments() > 0
        if self._ui.show3DButton.segmentationNode() is not segmentation:
            self._ui.show3DButton.setSegmentationNode(segmentation)
        self._ui.show3DButton.enabled = filled
        self._ui.recomputeButton.enabled = filled and not running
        table = node.tableNode if node else None
        table = own_table(segmentation, table) if filled else table
        self.results = read_results(table)
        total = messages.TOTAL.format(total=f"{self.results.total_ml:.1f}") if self.results else ""
        if self.results:
            fill_results_table(self._ui.resultsTable, self.results)
        for widget in (self._ui.resultsTable, self._ui.copyButton, self._ui.csvButton):
            widget.visible = bool(total)
        edit = self._edits.of(segmentation, table) if filled else Edit()
        self._ui.resultsLabel.text = f"{total}. {messages.EDITED}" if total and edit.since_table else total
        self._show_verdict(segmentation if filled else None, dict(edit.changed_ml))
        self._ui.resultsCollapsibleButton.visible = bool(total or self.record.decision or filled)

    def _show_verdict(self, segmentation, changed_ml: dict[str, float]) -> None:
        record = read_record(segmentation)
        if record == self.record and segmentation is self._segmentation and changed_ml == self._changed_ml:
            return
        self.record, self._segmentation, self._changed_ml = record, segmentation, changed_ml
        known = record.decision in STYLES
        self._ui.verdictLabel.visible = known
        text = messages.verdict_html(record) if known else ""
        self._ui.verdictLabel.text = messages.edited_html(changed_ml) + text if known and changed_ml else text
        self._ui.verdictLabel.styleSheet = EDITED_STYLE if changed_ml else STYLES.get(record.decision, "")
        for button in self._buttons:
            self._ui.placesFrame.layout().removeWidget(button)
            button.hide()
            button.deleteLater()
        self._buttons = [self._make_button(place) for place in record.places]
        self._ui.placesFrame.visible = bool(self._buttons)

    def _make_button(self, place: Place):
        button = qt.QPushButton(messages.place_text(world_mm(self._segmentation, place), place.doubtful_share))
        button.toolTip = messages.PLACE_TIP
        button.connect("clicked(bool)", lambda: self._jump(place))
        layout = self._ui.placesFrame.layout()
        layout.addWidget(button)
        return button

    def _jump(self, place: Place) -> None:
        if self._segmentation is not None and self._segmentation.GetScene() is not None:
            jump_to(self._segmentation, place)
