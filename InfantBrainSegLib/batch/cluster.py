"""Scans on the workers of a Dask cluster: one task a scan, networks read once a worker, results written where they are made.

The scheduler gives the scan of a lost worker to another one. A worker that cannot do any scan (other version, no weights, full disk) is
told of once and set aside; what it was given goes to the others.
"""

import asyncio
import contextlib
import errno
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.allocator import keep_freed_memory
from ..core.contract import Step
from ..core.cores import wait_passively
from ..core.errors import InfantBrainSegError, InputError, describe_error
from ..core.json_text import read_json_object
from ..core.lock import WAIT_S
from ..core.progress import Progress, silent
from ..imaging.files import check_writable_folder
from ..pipeline.segmenter import Segmenter
from .cohort import Row
from .job import Cluster, Job, settings_of
from .subjects import Scan

CONNECT_S = 15.0
WORKERS_S = 60.0  # a worker needs up to half a minute to start from a share
_DASK_LOGGERS = ("distributed", "distributed.client")  # the second has a level of its own
SAME_VERSIONS = ("python", "dask", "distributed")
_MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}
_one_at_a_time = threading.Lock()  # a worker may have several threads, and the networks use those that they want
_segmenters: dict[tuple[str, str], Segmenter] = {}  # of this worker's process
_LOG = logging.getLogger(__name__)


class UnfitWorkerError(Exception):
    """A worker that cannot do any scan.

    Parameters
    ----------
    worker, reason : str
    """

    def __init__(self, worker: str, reason: str):
        super().__init__(worker, reason)
        self.worker, self.reason = worker, reason


def do_scan(job: Job, scan: Scan) -> Row:
    """Segment one scan in a worker.

    Raises
    ------
    UnfitWorkerError
        If no scan can be done here.
    """
    with _one_at_a_time:
        started = time.perf_counter()
        reason = why_unfit(job)
        try:
            if not reason:
                return job.do(scan, _segmenter(job).begin, silent, WAIT_S)
        except Exception as error:  # whatever is wrong with one scan, the others get their turn
            if not _is_of_the_machine(error):
                return job.failed(scan, error, time.perf_counter() - started)
            reason = job.failed(scan, error, 0.0)["reason"]
        raise UnfitWorkerError(_address(), reason)


def why_unfit(job: Job) -> str:
    """Say why this process can do no scan of a job; empty when it can."""
    if job.settings["version"] != __version__:
        return f"it has InfantBrainSeg {__version__}; wanted {job.settings['version']}: install the same version"
    try:
        if not job.source.exists():
            return "the input is not there; wanted the same path on every worker: mount it"
        check_writable_folder(job.output_dir)
        if settings_of(job.options.segment, _segmenter(job).networks)["weights"] != job.settings["weights"]:
            return "its weights are others: give the same files on every worker"
    except (InfantBrainSegError, OSError) as error:
        return describe_error(error).rstrip(".")
    return ""


@contextlib.contextmanager
def connected(job: Job, cluster: Cluster) -> Iterator[Callable[[list[Scan], Progress], Iterator[tuple[Scan, Row]]]]:
    """Reach the cluster; gives what segments scans there and tells each row as it comes.

    Raises
    ------
    InputError
        If Dask is not installed, no scheduler answers or it has no worker; while it works, if no worker can do a scan.
    """
    with _client(cluster.address) as client:
        crowd = _Crowd(client, job, dict(cluster.resources))
        try:
            yield crowd.work
        finally:
            crowd.cancel()


class _Crowd:
    """The workers that can do scans, and the tasks that they were given."""

    def __init__(self, client: Any, job: Job, resources: dict[str, float]):
        self._client, self._job, self._resources = client, job, resources
        self._unfit: set[str] = set()
        self._open: dict[Any, Scan] = {}
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except TimeoutError:
            raise InputError(
                f"The Dask scheduler has no worker, even after {WORKERS_S:.0f} s; wanted at least one: start some with `dask worker`."
            ) from None

    def work(self, scans: list[Scan], progress: Progress) -> Iterator[tuple[Scan, Row]]:
        """Give each scan to the cluster; tell rows in the order in which they come."""
        from distributed import as_completed

        if not scans:
            return
        self._check_workers()
        waiting = as_completed([self._submit(scan) for scan in scans], loop=self._client.loop)
        done = 0
        for future in waiting:
            scan = self._open.pop(future)
            row = self._row(scan, future)
            if row is None:
                waiting.add(self._submit(scan))
                continue
            done += 1
            progress(f"{scan.name}: {Step.DONE}", done / len(scans))
            yield scan, row

    def cancel(self) -> None:
        """Take back what no worker has begun; what one has begun it ends, and its result counts."""
        with contextlib.suppress(Exception):
            self._client.cancel(list(self._open))

    def _submit(self, scan: Scan) -> Any:
        place = {"workers": self._fit(), "allow_other_workers": False} if self._unfit else {}  # else new workers may help
        key = f"{scan.name}-{uuid.uuid4().hex[:8]}"
        future = self._client.submit(do_scan, self._job, scan, key=key, pure=False, resources=self._resources or None, **place)
        self._open[future] = scan
        return future

    def _row(self, scan: Scan, future: Any) -> Row | None:
        """Give the row of a task that ended; None where another worker should try."""
        from distributed import KilledWorker

        error = None if future.status == "finished" else future.exception() if future.status == "error" else None
        if future.status == "finished":
            return future.result()
        if isinstance(error, UnfitWorkerError):
            self._set_aside(error.worker, error.reason)
            if self._fit():
                return None
            told: Exception = InputError(f"No Dask worker can do it; the last one: {error.reason}.")
        elif isinstance(error, KilledWorker):
            told = InputError(
                f"The workers that had it were lost, {error.allowed_failures + 1} times: look into the log of the last one and give "
                "workers more memory if it ran out."
            )
        elif error is None:
            raise InfantBrainSegError(
                "The Dask scheduler took the work back or is gone; what is finished is kept: start it again and give the same command."
            )
        else:
            told = error
        return self._job.failed(scan, told, 0.0)

    def _fit(self) -> list[str]:
        return [address for address in self._client.scheduler_info(n_workers=-1)["workers"] if address not in self._unfit]

    def _check_workers(self) -> None:
        self._client.run(wait_passively)  # before anything of ours loads torch there
        for address, reason in {**self._wrong_versions(), **self._own_words()}.items():
            self._set_aside(address, reason)
        if not self._fit():
            raise InputError("No Dask worker can do a scan: mend what was said of them and give the same command again.")
        for name, amount in self._resources.items():
            offered = [worker["resources"].get(name, 0) for worker in self._client.scheduler_info(n_workers=-1)["workers"].values()]
            if max(offered) < amount:
                raise InputError(
                    f"No Dask worker offers {name}={amount:g}; wanted one that does: start workers with --resources {name}={amount:g}."
                )

    def _wrong_versions(self) -> dict[str, str]:
        """Say which workers have other versions of what carries the work; the scheduler's must be the same."""
        found = self._client.get_versions(check=False)
        ours = found["client"]["packages"]
        wrong = _difference(ours, found["scheduler"]["packages"])
        if wrong:
            raise InputError(f"The Dask scheduler has {wrong}: install the same versions there.")
        told = {address: _difference(ours, about["packages"]) for address, about in found["workers"].items()}
        return {address: f"it has {wrong}: install the same versions there" for address, wrong in told.items() if wrong}

    def _own_words(self) -> dict[str, str]:
        """Ask each worker whether it can do a scan."""
        answers = self._client.run(why_unfit, self._job, on_error="return")
        told = {address: f"it cannot run InfantBrainSeg ({answer})" for address, answer in answers.items() if isinstance(answer, Exception)}
        return told | {address: answer for address, answer in answers.items() if isinstance(answer, str) and answer}

    def _set_aside(self, address: str, reason: str) -> None:
        if address not in self._unfit:
            self._unfit.add(address)
            _LOG.warning("Warning: the Dask worker %s does no scan: %s.", address, reason)


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            "Dask is not installed here; wanted dask and distributed: pip install 'infantbrainseg[cluster]', or leave --dask out."
        ) from None
    place = _scheduler_of(address)
    with _quiet():
        _check_scheduler(address, place)
        client = Client(address=place, timeout=CONNECT_S, set_as_default=False)
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):
                client.close(timeout=CONNECT_S)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Dask say nothing in the block: our lines say it."""
    loggers = [logging.getLogger(name) for name in _DASK_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _scheduler_of(address: str) -> str:
    """Give the address, or that which a scheduler file tells."""
    path, wanted = Path(address), "wanted the one that `dask scheduler --scheduler-file` writes"
    if path.is_file():
        told = read_json_object(path).get("address")
        if not isinstance(told, str):
            raise InputError(f"{address} tells no address of a scheduler; {wanted}: start the scheduler again.")
        return told
    if address.endswith(".json"):
        raise InputError(f"The scheduler file {address} does not exist; {wanted}.")
    return address


def _check_scheduler(address: str, place: str) -> None:
    """Make sure that a scheduler answers: Dask's own client waits for ever on what takes a connection and says nothing."""
    from distributed import Security, rpc

    async def ask() -> str:
        async with rpc(place, connection_args=Security().get_connection_args("client")) as other:
            return (await other.identity())["type"]

    async def ask_in_time() -> str:
        return await asyncio.wait_for(ask(), CONNECT_S)

    try:
        with ThreadPoolExecutor(1) as thread:  # a notebook's own thread has a loop that runs
            found = thread.submit(asyncio.run, ask_in_time()).result()
    except Exception as error:  # nobody, a web server, no such protocol, a name without a port
        found = type(error).__name__
    if found != "Scheduler":
        raise InputError(
            f"No Dask scheduler answers at {address} ({found}); wanted what `dask scheduler` prints, such as "
            "tcp://node1:8786, or its scheduler file: start it, or check the address."
        )


def _difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Say which versions differ, as "dask 1 where the client has 2"; of Python the first two numbers count."""
    return ", ".join(
        f"{name} {_short(name, theirs.get(name))} where the client has {_short(name, ours.get(name))}"
        for name in SAME_VERSIONS
        if _short(name, ours.get(name)) != _short(name, theirs.get(name))
    )


def _short(name: str, version: Any) -> str:
    return ".".join(str(version).split(".")[:2]) if name == "python" else str(version)


def _segmenter(job: Job) -> Segmenter:
    options = job.options.segment
    key = (str(options.weights_dir), options.device)
    if key not in _segmenters:
        keep_freed_memory()  # Dask starts its workers so that they give it back, which costs half as much processor time again
        _segmenters[key] = Segmenter(options.weights_dir, options.device)
    return _segmenters[key]


def _is_of_the_machine(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that this machine's disk is full, read-only or broken."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _MACHINE_FAULTS:
            return True
        error = error.__cause__
    return False


def _address() -> str:
    from distributed import get_worker

    return get_worker().address
