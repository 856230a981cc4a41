"""The results in the panel: the verdict with its reasons, a button for each place to look at, and the volumes."""

import qt

from ..scene.doubt import can_show_doubt, doubt_is_shown, hide_doubt, show_doubt
from ..scene.follow_up import comparison_of
from ..scene.places import Place, jump_to, world_mm
from ..scene.provenance import Record, read_record
from ..scene.results import inputs_of
from ..scene.review import can_be_reviewed, mark_reviewed, read_review, reviewer, unmark_reviewed
from ..scene.statistics import Edit, Edits, own_table
from . import messages
from .parameters import InfantBrainSegParameterNode
from .results_table import Results, fill_results_table, read_follow_up, read_results

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
    outdated : bool
        Whether the segmentation has changed since it was measured.
    """

    def __init__(self, ui):
        self._ui = ui
        self._segmentation = None
        self._buttons: list = []
        self._edits = Edits()
        self._edit = Edit()  # of the segmentation that is shown
        self._changed_ml: dict[str, float] = {}
        self._at = -1
        self._keys = [self._make_key("Alt+Down", +1), self._make_key("Alt+Up", -1)]
        self.record = Record()
        self.results: Results | None = None
        self.outdated = False

    def show(self, node: InfantBrainSegParameterNode | None, running: bool) -> None:
        """Show the segmentation and the table that a parameter node names; during a run nothing is measured."""
        segmentation = node.outputSegmentation if node else None
        filled = segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments() > 0
        if self._ui.show3DButton.segmentationNode() is not segmentation:
            self._ui.show3DButton.setSegmentationNode(segmentation)
        self._ui.show3DButton.enabled = filled
        self._ui.recomputeButton.enabled = filled and not running
        table = own_table(segmentation if filled else None, node.tableNode if node else None)
        self.outdated = False
        self.results = read_results(table, segmentation)
        total = ""
        if self.results:
            norm = messages.norm_in_words(self.results.ratio, read_record(segmentation if filled else None).age_months)
            total = messages.TOTAL.format(total=f"{self.results.total_ml:.1f}")
            self._ui.normLabel.text, self._ui.normLabel.toolTip = f"{messages.sentence(norm)}.", messages.norm_tip()
            fill_results_table(self._ui.resultsTable, self.results)
        for widget in (self._ui.resultsTable, self._ui.normLabel, self._ui.copyButton, self._ui.csvButton):
            widget.visible = bool(total)
        self._edit = edit = self._edits.of(segmentation, table) if filled else Edit()
        self.outdated = edit.since_table
        self._show_review(segmentation if filled else None, edit)
        self._show_follow_up(node, segmentation if filled else None)
        self._ui.outlineCheckBox.visible = self._ui.editButton.visible = filled
        self._ui.refineButton.visible = filled and inputs_of(segmentation).main is not None
        self._ui.editButton.enabled = not running
        self._ui.refineButton.enabled = bool(edit.changed_ml) and not running
        self._ui.refineButton.toolTip = messages.REFINE_TIP if edit.changed_ml else messages.NO_REFINE_TIP
        if filled:
            hide_doubt(segmentation.GetScene(), keep=segmentation)
        known = filled and can_show_doubt(segmentation)
        self._ui.doubtCheckBox.visible, self._ui.doubtCheckBox.enabled = filled, known
        self._ui.doubtCheckBox.checked = filled and doubt_is_shown(segmentation)
        self._ui.doubtCheckBox.toolTip = messages.DOUBT_TIP if known else messages.NO_DOUBT_TIP
        display = segmentation.GetDisplayNode() if filled else None
        self._ui.outlineCheckBox.checked = display is not None and not display.GetVisibility2DFill()
        self._ui.resultsLabel.text = f"{total}. {messages.EDITED}" if total and edit.since_table else total
        self._show_verdict(segmentation if filled else None, dict(edit.changed_ml))
        self._ui.resultsCollapsibleButton.visible = bool(total or self.record.decision or filled)

    def _show_follow_up(self, node: InfantBrainSegParameterNode | None, segmentation) -> None:
        for widget in (self._ui.earlierLabel, self._ui.earlierSelector, self._ui.compareButton):
            widget.visible = segmentation is not None
        earlier = node.earlierResult if node else None
        self._ui.compareButton.enabled = earlier is not None and earlier is not segmentation
        found = read_follow_up(comparison_of(earlier, segmentation))
        self._ui.followUpTable.visible = found is not None
        if found is not None:
            fill_results_table(self._ui.followUpTable, found)

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
        self._go(-1)

    def _make_button(self, place: Place):
        button = qt.QPushButton(messages.place_text(world_mm(self._segmentation, place), place.doubtful_share))
        button.toolTip = messages.PLACE_TIP
        button.connect("clicked(bool)", lambda: self._jump(self._buttons.index(button)))
        layout = self._ui.placesFrame.layout()
        layout.addWidget(button)
        return button

    def step(self, places: int) -> None:
        """Show a place that is some places further on in all views; after the last comes the first."""
        count = len(self.record.places)
        if count:
            self._jump((self._at + places) % count if self._at >= 0 else (0 if places > 0 else count - 1))

    def set_outlines(self, alone: bool) -> None:
        """Show the segments in slice views by their outlines alone, or filled."""
        if self._segmentation is not None and self._segmentation.GetDisplayNode() is not None:
            self._segmentation.GetDisplayNode().SetVisibility2DFill(not alone)

    def set_doubt(self, shown: bool) -> None:
        """Lay the doubt over the scan in slice views, or take it off."""
        if shown:
            show_doubt(self._segmentation)
        else:
            hide_doubt(self._segmentation.GetScene())

    def set_reviewed(self, reviewed: bool) -> None:
        """Write who looked the result through, or take that out again."""
        if reviewed:
            mark_reviewed(self._segmentation, reviewer(), self._edit.shapes)
        else:
            unmark_reviewed(self._segmentation)

    def _show_review(self, segmentation, edit: Edit) -> None:
        review = read_review(segmentation)
        for widget in (self._ui.reviewedCheckBox, self._ui.reviewedLabel, self._ui.reportButton):
            widget.visible = can_be_reviewed(segmentation)
        self._ui.reviewedCheckBox.checked = review is not None
        edited = review is not None and review.shapes != edit.shapes
        self._ui.reviewedLabel.text = messages.review_in_words(review, edited) if review is not None else ""

    def _make_key(self, keys: str, places: int):
        """Make a key that works in the whole window while the results are shown."""
        key = qt.QShortcut(self._ui.resultsCollapsibleButton)
        key.setKey(qt.QKeySequence(keys))
        key.connect("activated()", lambda: self.step(places))
        return key

    def _jump(self, index: int) -> None:
        if self._segmentation is not None and self._segmentation.GetScene() is not None:
            self._go(index)
            jump_to(self._segmentation, self.record.places[index])

    def _go(self, index: int) -> None:
        """Mark the place that is shown; -1 for none."""
        self._at, count = index, len(self._buttons)
        for number, button in enumerate(self._buttons):
            button.styleSheet = "font-weight: bold;" if number == index else ""
        for widget in (self._ui.previousButton, self._ui.nextButton, self._ui.placeLabel):
            widget.visible = count > 0
        text = messages.PLACES.format(count=count) if index < 0 else messages.PLACE_OF.format(number=index + 1, count=count)
        self._ui.placeLabel.text = text
