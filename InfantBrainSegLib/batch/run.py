"""Many subjects: goes on after a stop and past a bad subject, and keeps one table of all of them."""

from collections.abc import Iterator
from pathlib import Path

from ..core.contract import COHORT, FAILED, PENDING, REASON_COLUMN, STATUS_COLUMN, Step
from ..core.errors import InputError
from ..core.progress import Progress, part_of, silent
from ..imaging.files import write_text
from ..outputs.bids import prepare_dataset
from ..outputs.lock import STALE_S, owned
from ..outputs.overview import load_drawing
from ..outputs.publishing import sweep
from ..pipeline.segmenter import Segmenter
from .cohort import Row, to_csv
from .job import LOCK, BatchOptions, Job, SegmentOne
from .subjects import Scan, find_scans, select

WAIT_S = STALE_S + 60.0  # for a scan whose owner may have been killed on another machine


def run_batch(
    source: str | Path,
    output_dir: str | Path,
    options: BatchOptions | None = None,
    progress: Progress = silent,
    segmenter: SegmentOne | None = None,
) -> list[Row]:
    """Segment each scan of a BIDS folder or a CSV that is not finished, and write a BIDS derivative dataset.

    A scan is finished when its report lies in the output and was made from the same input files with the same weights, options and
    version, and every file that the report lists is there. Labels or a mask that were edited since count as finished, with a warning.

    Parameters
    ----------
    source : path
        As `find_scans` takes it.
    output_dir : path
        Gets the results, and `cohort.csv` with one row a scan of `source`, written anew after each.
    options : BatchOptions, optional
    progress : Progress
        Told "sub-01: stage 1" and the share of the whole batch that is done.
    segmenter : callable, optional
        Called as `segment` is; by default one `Segmenter` for all scans.

    Returns
    -------
    list of dict
        The rows of `cohort.csv`; the status is "ok" or "failed".

    Raises
    ------
    InfantBrainSegError
        If nothing can be segmented: no subject, an unusable output folder, device or weights, or another run has this output.
        A bad subject raises nothing.
    """
    options = options or BatchOptions()
    scans = find_scans(source, options.single_scan)
    ours = Segmenter(options.segment.weights_dir, options.segment.device)
    job = Job.of(source, output_dir, options, ours.networks)
    prepare_dataset(job.output_dir, job.source)
    with owned(job.output_dir / LOCK, f"The output folder {job.output_dir}"):
        sweep(folder for scan in scans for folder in job.folders(scan))
        load_drawing()
        rows = {scan.name: job.row_before(scan) for scan in scans}
        _write_table(job, rows)
        waiting = [scan for scan in scans if rows[scan.name][STATUS_COLUMN] == PENDING]
        for done, (scan, row) in enumerate(_one_by_one(job, waiting, segmenter or ours, progress), 1):
            rows[scan.name] = row
            try:
                _write_table(job, rows)
            except InputError:  # open in a spreadsheet, perhaps: the next scan writes it again
                if done == len(waiting):
                    raise
    progress(Step.DONE, 1.0)
    return list(rows.values())


def run_selected(
    source: str | Path,
    output_dir: str | Path,
    options: BatchOptions,
    progress: Progress = silent,
    segmenter: SegmentOne | None = None,
) -> list[Row]:
    """Segment some scans of a BIDS folder or a CSV and leave the table alone: others may work on the same output meanwhile.

    Parameters
    ----------
    source, output_dir, progress, segmenter : as in `run_batch`
    options : BatchOptions
        With the scans in `select`.

    Returns
    -------
    list of dict
        The rows of these scans, "ok" or "failed"; `write_group` makes a table of all.

    Raises
    ------
    InfantBrainSegError
        If nothing can be segmented.
    """
    scans = select(find_scans(source, options.single_scan), options.select)
    ours = Segmenter(options.segment.weights_dir, options.segment.device)
    job = Job.of(source, output_dir, options, ours.networks)
    prepare_dataset(job.output_dir, job.source)
    load_drawing()
    rows = {scan.name: job.row_before(scan) for scan in scans}
    waiting = [scan for scan in scans if rows[scan.name][STATUS_COLUMN] == PENDING]
    for scan, row in _one_by_one(job, waiting, segmenter or ours, progress, WAIT_S):
        rows[scan.name] = row
        if row[STATUS_COLUMN] == FAILED:
            job.note_failure(scan, row[REASON_COLUMN])
    progress(Step.DONE, 1.0)
    return list(rows.values())


def write_group(source: str | Path, output_dir: str | Path, options: BatchOptions) -> list[Row]:
    """Write the table of all scans of a BIDS folder or a CSV from the results that are there.

    Parameters
    ----------
    source, output_dir : as in `run_batch`
    options : BatchOptions
        Only `single_scan` counts.

    Returns
    -------
    list of dict
        The rows of `cohort.csv`; the status is "ok", "failed" or "pending".

    Raises
    ------
    InfantBrainSegError
        If there is no subject, or no output that can be written, or another run has it.
    """
    scans = find_scans(source, options.single_scan)
    job = Job(Path(source).absolute(), Path(output_dir).absolute(), options, {})
    prepare_dataset(job.output_dir, job.source)
    with owned(job.output_dir / LOCK, f"The output folder {job.output_dir}"):
        rows = {scan.name: job.row_there(scan) for scan in scans}
        _write_table(job, rows)
    return list(rows.values())


def _one_by_one(job: Job, scans: list[Scan], segmenter: SegmentOne, progress: Progress, wait_s: float = 0.0) -> Iterator[tuple[Scan, Row]]:
    for done, scan in enumerate(scans):
        inside = _named(part_of(progress, done / len(scans), (done + 1) / len(scans)), scan.name)
        yield scan, job.attempt(scan, segmenter, inside, wait_s)


def _named(progress: Progress, name: str) -> Progress:
    return lambda step, fraction: progress(f"{name}: {step}", fraction)


def _write_table(job: Job, rows: dict[str, Row]) -> None:
    write_text(to_csv(rows.values()), job.output_dir / COHORT)
