"""Many subjects: goes on after a stop and past a bad subject, and keeps one table of all of them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..core.contract import COHORT, COHORT_PAGE, PENDING, STATUS_COLUMN, Step
from ..core.errors import InputError
from ..core.lock import LOCK, WAIT_S, owned
from ..core.progress import Progress, part_of, silent
from ..imaging.files import write_text
from ..networks.weights import Networks
from ..outputs.bids import prepare_dataset
from ..outputs.overview import load_drawing
from ..outputs.publishing import sweep
from ..pipeline.segmenter import Segmentation, Segmenter
from .cohort import Row, to_csv
from .job import BatchOptions, BeginOne, Job, SegmentOne
from .page import make_page
from .review import read_review, with_decision
from .subjects import Scan, find_scans, select

Work = Callable[[list[Scan], Progress], Iterator[tuple[Scan, Row]]]
BESIDE_VOXELS = 60_000_000  # of a larger scan all is written before the next one begins, so that memory holds one of them
WRITING_SHARE = 0.05  # of a run's time at most goes into writing the table of very many scans


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
        Gets the results, `cohort.csv` with one row a scan of `source`, written anew after each, and at the end `cohort.html`.
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
    with _workers(source, output_dir, options, segmenter) as (job, work):
        prepare_dataset(job.output_dir, job.source)
        with owned(job.output_dir / LOCK, f"The output folder {job.output_dir}"):
            sweep(folder for scan in scans for folder in job.folders(scan))
            decided = read_review(job.output_dir)
            rows = {scan.name: with_decision(job.row_before(scan), decided) for scan in scans}
            waiting = _waiting(job, scans, rows)
            with _kept_table(job, rows) as rewrite:
                for scan, row in work(waiting, progress):
                    rows[scan.name] = with_decision(row, decided)
                    job.note(scan, row)
                    rewrite()
            _write_page(job, rows)
    progress(Step.DONE, 1.0)
    return list(rows.values())


@contextlib.contextmanager
def _workers(source: str | Path, output_dir: str | Path, options: BatchOptions, segmenter: SegmentOne | None) -> Iterator[tuple[Job, Work]]:
    """Check weights and device before any work, a device elsewhere where it is; gives what segments scans."""
    cluster = options.cluster
    if cluster is not None:
        from .cluster import connected

        weights = options.segment.weights_dir
        if weights is not None:  # a worker works in another folder
            options = replace(options, segment=replace(options.segment, weights_dir=Path(weights).absolute()))
        job = Job.of(source, output_dir, options, Networks(weights))
        with connected(job, cluster) as work:
            yield job, work
    else:
        ours = Segmenter(options.segment.weights_dir, options.segment.device)
        job = Job.of(source, output_dir, options, ours.networks)
        load_drawing()
        yield job, partial(_one_by_one, job, _at_once(segmenter) if segmenter else ours.begin, 0.0)


@contextlib.contextmanager
def _kept_table(job: Job, rows: dict[str, Row]) -> Iterator[Callable[[], None]]:
    """Write the table before and after the block, whatever ends it; gives what writes it meanwhile, unless that would take long."""

    def write() -> None:
        write_text(to_csv(rows.values()), job.output_dir / COHORT)

    next_at = 0.0

    def rewrite() -> None:
        nonlocal next_at
        started = time.monotonic()
        if started >= next_at:
            with contextlib.suppress(InputError):  # open in a spreadsheet, perhaps: the next scan writes it again
                write()
            next_at = started + (time.monotonic() - started) / WRITING_SHARE

    write()
    try:
        yield rewrite
    except BaseException:
        with contextlib.suppress(InputError):
            write()
        raise
    write()


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
    waiting = _waiting(job, scans, rows)
    for scan, row in _one_by_one(job, _at_once(segmenter) if segmenter else ours.begin, WAIT_S, waiting, progress):
        rows[scan.name] = row
        job.note(scan, row)
    progress(Step.DONE, 1.0)
    return list(rows.values())


def write_group(source: str | Path, output_dir: str | Path, options: BatchOptions) -> list[Row]:
    """Write the table of all scans of a BIDS folder or a CSV, and the page to look them through, from the results that are there.

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
        decided = read_review(job.output_dir)
        rows = {scan.name: with_decision(job.row_there(scan), decided) for scan in scans}
        write_text(to_csv(rows.values()), job.output_dir / COHORT)
        _write_page(job, rows)
    return list(rows.values())


def _waiting(job: Job, scans: list[Scan], rows: dict[str, Row]) -> list[Scan]:
    """Give the scans that are to be segmented, and keep for `write_group` what is known of the others."""
    waiting = []
    for scan in scans:
        if rows[scan.name][STATUS_COLUMN] == PENDING:
            waiting.append(scan)
        else:
            job.note(scan, rows[scan.name])
    return waiting


def _write_page(job: Job, rows: dict[str, Row]) -> None:
    write_text(make_page(list(rows.values()), job.output_dir), job.output_dir / COHORT_PAGE)


def _one_by_one(job: Job, begin: BeginOne, wait_s: float, scans: list[Scan], progress: Progress) -> Iterator[tuple[Scan, Row]]:
    """Segment here; a scan is cleaned up and written in a thread while the next one is read, prepared and in the networks.

    The networks stay in this thread, where a stop is heard at once; what is being written then ends first.
    """
    with ThreadPoolExecutor(1, "writer") as writer:
        written: tuple[Scan, Future[Row]] | None = None
        for done, scan in enumerate(scans):
            inside = _named(part_of(progress, done / len(scans), (done + 1) / len(scans)), scan.name)
            try:
                rest = job.attempt(scan, begin, inside, wait_s)
            finally:
                if written is not None:
                    yield written[0], written[1].result()
            written, is_large = (scan, writer.submit(rest.end)), rest.voxels > BESIDE_VOXELS
            del rest  # it holds the whole scan
            if is_large:
                wait([written[1]])
        if written is not None:
            yield written[0], written[1].result()


def _at_once(segmenter: SegmentOne) -> BeginOne:
    """Let what segments a brain in one go stand where the networks and the rest are two parts."""

    def begin(*given: Any) -> Callable[[Progress], Segmentation]:
        result = segmenter(*given)
        return lambda progress: result

    return begin


def _named(progress: Progress, name: str) -> Progress:
    return lambda step, fraction: progress(f"{name}: {step}", fraction)
