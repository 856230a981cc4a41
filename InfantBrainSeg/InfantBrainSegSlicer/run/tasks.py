"""What a run is for: one brain of the scene, its images' checks, or a batch of files."""

import csv
import json
from dataclasses import replace
from pathlib import Path

from InfantBrainSegLib.core.contract import COHORT, EXIT_OK, EXIT_SOME_FAILED, OK, SCAN_COLUMN, STATUS_COLUMN
from InfantBrainSegLib.core.errors import InfantBrainSegError, InputError
from InfantBrainSegLib.core.option import BATCH, SEGMENT

from ..scene.checks import scale_warning
from ..scene.edit_guard import EditGuard
from ..scene.edits import Before
from ..scene.nodes import image_from_tissues, write_exactly
from ..scene.options import Scans, SegmentParameters
from ..scene.provenance import record_of
from ..scene.results import ResultNodes, Wanted, import_outcome, read_outcome
from .child import ChildError, temporary_folder_problem
from .handover import Handover
from .run import Cohort, TaskResult

CHECKS_FILE = "checks.json"
EDITED_FILE = "edited.nrrd"
EDITED_MEANWHILE = "The output segmentation was edited during the run: it was left as it is, and the result is in a new one."
SCANS_ATTRIBUTE = "InfantBrainSeg.Scans"  # of a segmentation: the checksum of what it was made of
NO_MASK = "The segmentation process wrote no cerebrum mask, so none was kept: look into the log."


class _ScanTask:
    """What the tasks on the scans of one brain share: the files, and the nodes' names."""

    def __init__(self, handover: Handover, parameters: SegmentParameters):
        self._handover = handover
        self._parameters = parameters
        self.folder = handover.folder
        self.device = parameters.device

    def arguments(self) -> list[str]:
        """The command line of this task."""
        return ["segment", *self._handover.arguments(), *self._parameters.arguments(SEGMENT)]

    def succeeded(self, code: int) -> bool:
        """Whether the child did its work."""
        return code == EXIT_OK

    def interruption(self) -> str:
        """Say which node left the scene, or ""."""
        return self._handover.interruption()

    def with_names(self, message: str) -> str:
        """Put nodes' names in place of temporary files'."""
        return self._handover.with_names(message)

    def clean_up(self) -> None:
        """Remove the temporary folder."""
        self._handover.clean_up()


class SegmentTask(_ScanTask):
    """Segments the scans of one brain in the scene.

    Parameters
    ----------
    targets : ResultNodes
        The scans, and the outputs that were chosen.
    parameters : SegmentParameters

    Raises
    ------
    InfantBrainSegError
        If the scans cannot be handed to the child.
    """

    def __init__(self, targets: ResultNodes, parameters: SegmentParameters):
        outputs = {
            "The output segmentation": targets.segmentation,
            "The output label map": targets.labelmap,
            "The output table": targets.table,
        }
        super().__init__(Handover(targets.scans, outputs), parameters)
        self._targets = targets
        self._warnings = tuple(scale_warning(targets.scans))
        self._output = self.folder / "output"
        self._guard = EditGuard()
        if targets.segmentation is not None:
            self._guard.made(targets.segmentation)

    def arguments(self) -> list[str]:
        """The command line of this task."""
        return [*super().arguments(), "--output-dir", self._output.name]

    def finish(self) -> TaskResult:
        """Import the child's files."""
        wanted = Wanted(self._parameters.saveProbabilities, self._parameters.saveMask)
        outcome = read_outcome(self._output, self._handover.given, wanted)
        record = record_of(outcome.report)
        notes = self._warnings
        if wanted.mask and outcome.mask is None:
            notes += (NO_MASK,)
        targets = self._targets
        if self._guard.holds_work(targets.segmentation):
            targets = replace(targets, segmentation=None, table=None)
            notes += (EDITED_MEANWHILE,)
        self._guard.forget_all()
        run_warnings, run_notes = (tuple(map(self.with_names, outcome.report.get(name, []))) for name in ("warnings", "notes"))
        warnings = run_warnings + notes
        nameless = [self._handover.without_names(text) for text in warnings]
        nodes = import_outcome(replace(outcome, report={**outcome.report, "warnings": nameless}), targets)
        nodes.segmentation.SetAttribute(SCANS_ATTRIBUTE, self._handover.content)
        return TaskResult(nodes, warnings, run_notes + notes, record, device=str(outcome.report.get("device", {}).get("used", "")))

    def clean_up(self) -> None:
        """Remove the temporary folder and stop watching the output."""
        self._guard.forget_all()
        super().clean_up()


class RefineTask(SegmentTask):
    """Keeps the edits of a segmentation in the scene, and lets the labels near them follow.

    Parameters
    ----------
    targets : ResultNodes
        With the segmentation, and the scans that it was made of.
    parameters : SegmentParameters

    Raises
    ------
    InfantBrainSegError
        If the scans or the segmentation cannot be handed to the child.
    """

    def __init__(self, targets: ResultNodes, parameters: SegmentParameters):
        super().__init__(targets, parameters)
        made_of = targets.segmentation.GetAttribute(SCANS_ATTRIBUTE)
        if made_of is not None and made_of != self._handover.content:
            self.clean_up()
            raise InputError(
                f"The scans or the mask of '{targets.segmentation.GetName()}' were changed since it was made; wanted them as they were, "
                "or what changed would count as edits: load them again, or segment again and edit that result."
            )
        try:
            write_exactly(image_from_tissues(targets.segmentation, targets.scans.main), self.folder / EDITED_FILE)
        except OSError as error:
            self.clean_up()
            raise ChildError(temporary_folder_problem(error, self.folder.parent)) from error

    def arguments(self) -> list[str]:
        """The command line of this task."""
        return [*super().arguments(), "--edited-labels", EDITED_FILE]

    def finish(self) -> TaskResult:
        """Import the child's files; what they replace can be put back."""
        before = Before(self._targets)
        result = super().finish()
        replaced = result.nodes is not None and result.nodes.segmentation is self._targets.segmentation
        return replace(result, undo=before.restore if replaced else None)


class CheckTask(_ScanTask):
    """Runs the library's checks, all of them, as a segmentation with these parameters would; touches no node.

    Parameters
    ----------
    scans : Scans
    parameters : SegmentParameters

    Raises
    ------
    InfantBrainSegError
        If the scans cannot be handed to the child.
    """

    def __init__(self, scans: Scans, parameters: SegmentParameters):
        super().__init__(Handover(scans, {}), parameters)
        self._table = self.folder / CHECKS_FILE

    def arguments(self) -> list[str]:
        """The command line of this task."""
        return [*super().arguments(), "--check-only", "--json", self._table.name]

    def succeeded(self, code: int) -> bool:
        """Whether there is a table; a "stop" in it is no failure of the check."""
        return code == EXIT_OK or self._table.is_file()

    def finish(self) -> TaskResult:
        """Read the table."""
        try:
            checks = json.loads(self._table.read_text(encoding="utf-8"))
            return TaskResult(record=record_of({"checks": checks}))
        except (OSError, ValueError, TypeError) as error:
            raise InfantBrainSegError(f"The checks left no readable table ({error}): look into the log, and try again.") from error


class BatchTask:
    """Segments many subjects of a BIDS folder or a CSV; touches no node.

    Parameters
    ----------
    source, output_dir : path
    parameters : SegmentParameters

    Raises
    ------
    InputError
        If the source does not exist, or a mask node or an age is given.
    """

    def __init__(self, source: str | Path, output_dir: str | Path, parameters: SegmentParameters):
        self._source = Path(source).absolute()
        self._output_dir = Path(output_dir).absolute()
        self._parameters = parameters
        parameters.check()
        if not str(source) or not self._source.exists():
            raise InputError(f"The batch input '{source}' does not exist; wanted a BIDS folder or a CSV file: check the path.")
        if not str(output_dir):
            raise InputError("No output folder is given; wanted one that gets the results and cohort.csv: choose a folder.")
        if parameters.maskNode is not None:
            raise InputError("A brain mask of the scene cannot serve a whole batch; wanted none: name masks in the CSV's mask column.")
        if parameters.ageMonths is not None:
            raise InputError("One age cannot serve a whole batch; wanted none: give each subject's age in the table of the input.")
        self.folder = None
        self.device = parameters.device

    def arguments(self) -> list[str]:
        """The command line of this task."""
        return ["batch", "--input", str(self._source), "--output-dir", str(self._output_dir), *self._parameters.arguments(BATCH)]

    def succeeded(self, code: int) -> bool:
        """Whether all subjects were tried; `cohort.csv` says of each how it went."""
        return code in (EXIT_OK, EXIT_SOME_FAILED)

    def interruption(self) -> str:
        """Nothing in the scene matters to a batch."""
        return ""

    def finish(self) -> TaskResult:
        """Read from the table how each scan went."""
        path = self._output_dir / COHORT
        try:
            with path.open(encoding="utf-8", newline="") as file:
                status = {row[SCAN_COLUMN]: row[STATUS_COLUMN] for row in csv.DictReader(file)}
        except (OSError, ValueError, KeyError) as error:
            raise InfantBrainSegError(f"The batch left no readable {path} ({error}): look into the log, and try again.") from error
        succeeded = tuple(scan for scan, text in status.items() if text == OK)
        return TaskResult(cohort=Cohort(str(path), succeeded, tuple(scan for scan in status if scan not in succeeded)))

    def with_names(self, message: str) -> str:
        """The files are the user's own."""
        return message

    def clean_up(self) -> None:
        """Nothing temporary."""
