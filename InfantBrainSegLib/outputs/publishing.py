"""All files of one run, or none of them: a run writes into a hidden folder, which is published as one transaction.

A hidden folder holds `owner.json` (who works in it), `new` (what is to come) and `old` (what was there). While files move, it also holds
`moves.json`; what was cut short with that file there is rolled back by the next run.
"""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ..core.errors import InputError
from ..core.json_text import read_json_object
from ..core.lock import Owner
from ..imaging.files import check_path, check_writable_folder

PREFIX = ".infantbrainseg-"
OWNERLESS_S = 3600.0  # a hidden folder without an owner's name is left alone this long: it may just be made
_OWNER, _MOVES, _NEW, _OLD = "owner.json", "moves.json", "new", "old"
_DEFERRED = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class StoppedAfterwards(KeyboardInterrupt):
    """A stop that was asked for while the files moved: the result is whole."""


@dataclass
class Staging:
    """Where a run writes before it publishes.

    Attributes
    ----------
    folder : Path
        Takes the new files.
    output_dir : Path
        Where they go.
    """

    folder: Path
    output_dir: Path
    _kept: list[str] = field(default_factory=list)

    def keep(self, name: str) -> str:
        """Keep an output file that someone edited, under another name that no other file has.

        Returns
        -------
        str
            Its name once all is published.
        """
        stem, dot, ending = name.partition(".")
        aside = f"{stem}.edited-{uuid.uuid4().hex[:8]}{dot}{ending}"
        shutil.copy2(self.output_dir / name, self.folder / aside)
        self._kept.append(aside)
        return aside

    @property
    def kept(self) -> tuple[str, ...]:
        """The names that `keep` gave."""
        return tuple(self._kept)


@contextlib.contextmanager
def staged_folder(output_dir: str | Path, names: Sequence[str], inputs: Mapping[str, Path] | None = None) -> Iterator[Staging]:
    """Give a hidden folder whose files move into `output_dir` when the block ends well, and vanish when it does not.

    The hidden folder lies on the output's own file system. Our files of an earlier run in `output_dir` that the new run does not write
    are removed, so that what lies there belongs together; other files stay. If one file cannot move, all former ones come back. Signals
    wait while files move. Nothing is left behind on failure, not even an empty folder; what a killed run left is swept first.

    Parameters
    ----------
    output_dir : path
    names : sequence of str
        Our files; the last one is removed first and comes last, so that it never lies beside another run's files.
    inputs : mapping of str to Path, optional
        Files that must stay as they are, by what messages call them.

    Raises
    ------
    InputError
        If the folder cannot be made or written, a file in it cannot be replaced, or an input lies at the place of one.
    StoppedAfterwards
        If a signal came while the files moved.
    """
    output_dir = Path(output_dir).absolute()
    check_path(output_dir, "the output folder")
    _check_inputs(output_dir, names, inputs or {})
    nearest = next(folder for folder in (output_dir, *output_dir.parents) if folder.exists())
    sweep((nearest, output_dir.parent))
    if output_dir.exists() or output_dir.is_symlink():
        check_writable_folder(output_dir)
    try:
        hidden = Path(tempfile.mkdtemp(dir=nearest, prefix=PREFIX))
    except OSError as error:
        raise InputError(
            f"The output folder {output_dir} cannot be made in {nearest} ({error.strerror or error}): choose one you may write to."
        ) from error
    transaction = _Transaction(hidden, output_dir)
    try:
        transaction.begin(names[-1])
        transaction.try_targets(names)
        staging = Staging(hidden / _NEW, output_dir)
        yield staging
        check_writable_folder(output_dir)
        published = False
        try:
            with deferred_signals():
                transaction.publish([*staging.kept, *names])
                transaction.end()
                published = True
        except KeyboardInterrupt:
            if published:
                raise StoppedAfterwards("Stopped; the result is whole.") from None
            raise
    finally:
        transaction.end()


class _Transaction:
    """The moves between a hidden folder and the output folder, and the way back."""

    def __init__(self, hidden: Path, output_dir: Path):
        self._hidden = hidden
        self._output_dir = output_dir

    def begin(self, last: str) -> None:
        owner = {**asdict(Owner.here()), "output": Path(os.path.relpath(self._output_dir, self._hidden.parent)).as_posix(), "last": last}
        (self._hidden / _OWNER).write_text(json.dumps(owner), encoding="utf-8")
        for name in (_NEW, _OLD):
            (self._hidden / name).mkdir()

    def try_targets(self, names: Sequence[str]) -> None:
        """Move each former file away and back, so that one that cannot be replaced is told before any work."""
        with deferred_signals(), self._moving(names, []):
            for name in names:
                self._set_aside(name)
            self._restore(names)

    def publish(self, names: Sequence[str]) -> None:
        """Move former files out and new ones in; the last name goes first and comes last."""
        fresh = [name for name in names if (self._hidden / _NEW / name).exists()]
        with self._moving(names, fresh):
            for name in reversed(names):
                self._set_aside(name)
            for name in fresh:
                _move(self._hidden / _NEW / name, self._output_dir / name)

    def roll_back(self, names: Sequence[str], fresh: Sequence[str]) -> None:
        """Undo what moved: new files go, former ones come back."""
        for name in reversed(fresh):
            if not (self._hidden / _NEW / name).exists() and os.path.lexists(self._output_dir / name):
                _move(self._output_dir / name, self._hidden / _NEW / name)
        self._restore(names)
        (self._hidden / _MOVES).unlink(missing_ok=True)

    def end(self) -> None:
        """Remove the hidden folder, but for one that holds files that could not come back."""
        if not (self._hidden / _MOVES).exists():
            shutil.rmtree(self._hidden, ignore_errors=True)

    @contextlib.contextmanager
    def _moving(self, names: Sequence[str], fresh: Sequence[str]) -> Iterator[None]:
        moves = self._hidden / _MOVES
        moves.write_text(json.dumps({"names": list(names), "fresh": list(fresh)}), encoding="utf-8")
        try:
            yield
        except BaseException:
            self.roll_back(names, fresh)
            raise
        moves.unlink()

    def _set_aside(self, name: str) -> None:
        path = self._output_dir / name
        if not os.path.lexists(path):
            return
        if path.is_dir() and not path.is_symlink():
            raise InputError(f"{path} is a folder where a result is to be written: move it, or choose another output folder.")
        _move(path, self._hidden / _OLD / name)

    def _restore(self, names: Sequence[str]) -> None:
        for name in names:
            if os.path.lexists(self._hidden / _OLD / name):
                _move(self._hidden / _OLD / name, self._output_dir / name)


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if source.parent.name == _OLD:
            raise InputError(
                f"{target} cannot be put back ({error.strerror or error}); it lies in {source.parent}: the next run tries again."
            ) from error
        place = target if source.parent.name == _NEW else source
        raise InputError(
            f"{place} cannot be replaced ({error.strerror or error}); what lay there is unchanged: "
            "close the program that holds it, or choose another output folder."
        ) from error


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Let Ctrl-C and a request to end wait until the block is over."""
    if threading.current_thread() is not threading.main_thread():  # signals never come here
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in _DEFERRED}
    taken = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    for number in taken:
        signal.signal(number, remember)
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def sweep(folders: Iterable[Path], ours: tuple[Path, str] | None = None) -> None:
    """Remove the hidden folders of runs that were killed; what one had half published is rolled back.

    A folder of a running process or of another machine stays.

    Parameters
    ----------
    folders : iterable of Path
        Where to look, not below them.
    ours : Path and str, optional
        An output folder and the last of the names that are published there, which the caller alone may write: what another run left
        of them goes too, from whatever machine.
    """
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(OSError, InputError):  # a folder that cannot be listed or written holds nothing of ours to remove
            for hidden in [path for path in folder.iterdir() if path.name.startswith(PREFIX)]:
                if hidden.is_dir() and not hidden.is_symlink() and (_is_for(hidden, ours) or not _has_owner(hidden)):
                    _sweep_one(hidden)


def _is_for(hidden: Path, ours: tuple[Path, str] | None) -> bool:
    """Whether a hidden folder is on its way to this output and this last name."""
    owner = read_json_object(hidden / _OWNER)
    if ours is None or not isinstance(owner.get("output"), str):
        return False
    return (os.path.normpath(hidden.parent / owner["output"]), owner.get("last")) == (os.path.normpath(ours[0]), ours[1])


def _sweep_one(hidden: Path) -> None:
    if (hidden / _MOVES).exists():
        below, moves = str(read_json_object(hidden / _OWNER).get("output", "..")), read_json_object(hidden / _MOVES)
        names, fresh = _names(moves.get("names")), _names(moves.get("fresh"))
        if Path(below).is_absolute() or ".." in Path(below).parts or names is None or fresh is None:
            return  # what it holds may be someone's only copy
        _Transaction(hidden, hidden.parent / below).roll_back(names, fresh)
    shutil.rmtree(hidden, ignore_errors=True)


def _names(value: Any) -> list[str] | None:
    """Give a list of plain file names; of anything else, None."""
    plain = isinstance(value, list) and all(isinstance(name, str) and Path(name).name == name for name in value)
    return value if plain else None


def _has_owner(hidden: Path) -> bool:
    owner = Owner.of(read_json_object(hidden / _OWNER))
    return time.time() - hidden.stat().st_mtime < OWNERLESS_S if owner is None else not owner.has_ended


def _check_inputs(output_dir: Path, names: Sequence[str], inputs: Mapping[str, Path]) -> None:
    """Refuse a run that would put a result where one of its inputs lies."""
    for name in names:
        for called, path in inputs.items():
            with contextlib.suppress(OSError):
                if (output_dir / name).exists() and path.samefile(output_dir / name):
                    raise InputError(
                        f"{called} lies in the output folder as {name}, where a result would replace it: choose another output folder."
                    )
