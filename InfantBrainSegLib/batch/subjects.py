"""Which scans a batch is to segment: from a BIDS folder, or from a CSV that lists them.

A scan that cannot be paired without guessing stays in the list, with the reason: it becomes a row of the cohort's table.
"""

import csv
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import InputError
from ..imaging.files import GET_IT, is_link_to_nothing
from ..imaging.inputs import Input
from .ages import IN_ANY_UNITS, IN_MONTHS, NO_AGE, Age, BidsAges, age_of

Entities = dict[str, str]  # of a BIDS name, in its order: {"sub": "01", "ses": "1", "run": "2"}

COLUMNS = ("subject", "t1", "t2")  # that a CSV must have
OPTIONAL_COLUMNS = ("mask", "session", IN_MONTHS, "t1_series", "t2_series")
_NO_ANAT = "{} has no folder anat with a T1w and a T2w image: add them."
ALONE = "or segment {} alone with --single-scan, which is less accurate"
LABEL = re.compile(r"[A-Za-z0-9]+")  # what BIDS allows after the hyphen
OWN_SPACES = ("orig", "individual", "scanner")  # a mask's `space` that means the subject's own scan, besides T1w for a T1
_SUBJECT, _SESSION = re.compile(r"sub-[A-Za-z0-9+]+"), re.compile(r"ses-[A-Za-z0-9+]+")
_ENTITY = r"[A-Za-z0-9]+-[A-Za-z0-9+]+"
_FILE = re.compile(rf"({_ENTITY}(?:_{_ENTITY})*)_(T1w|T2w|mask)\.nii(?:\.gz)?")
_PROCESSING = ("desc", "space", "res")  # say how a file was made, not which scan it shows


@dataclass(frozen=True)
class Scan:
    """A T1 and a T2 of one brain, one of them alone, or the reason why there is no such pair.

    Attributes
    ----------
    subject, session : str
        As in BIDS, "sub-01" and "ses-1"; the session is empty where there is none.
    name : str
        Tells it from all others: "sub-01_ses-1_run-2".
    stem : str
        What the names of its results start with: "sub-01_ses-1_run-2_space-T1w".
    t1, t2, mask : Path or None
    reason : str
        Why it cannot be segmented; empty when it can be tried.
    t1_series, t2_series : str
        Series Instance UID of the one to use, where T1's or T2's DICOM folder has several.
    age : Age
    """

    subject: str
    session: str
    name: str
    stem: str
    t1: Path | None = None
    t2: Path | None = None
    mask: Path | None = None
    reason: str = ""
    t1_series: str = ""
    t2_series: str = ""
    age: Age = NO_AGE

    @property
    def inputs(self) -> dict[str, Input]:
        """What there is of T1, T2 and mask, by role."""
        given = (("t1", self.t1, self.t1_series), ("t2", self.t2, self.t2_series), ("mask", self.mask, ""))
        return {role: Input(role, path, series) for role, path, series in given if path is not None}

    @property
    def folder(self) -> Path:
        """Where its results go, seen from the output folder."""
        return Path(self.subject, self.session, "anat")


@dataclass(frozen=True)
class Selection:
    """Which scans of all a run is to do.

    Attributes
    ----------
    participants, sessions : tuple of str
        Labels, with or without "sub-" and "ses-"; empty for all.
    part, parts : int
        One of so many equal parts, from 1.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    part: int = 1
    parts: int = 1


@dataclass(frozen=True)
class _File:
    """An image whose name is a BIDS name."""

    path: Path
    entities: Entities
    suffix: str


def find_scans(source: str | Path, single_scan: bool = False) -> list[Scan]:
    """List the scans of a BIDS folder or of a CSV; every folder whose name begins with sub gives at least one.

    Parameters
    ----------
    source : path
        A folder with `sub-*/[ses-*/]anat/*_T1w.nii.gz` and `_T2w`, or a CSV with the columns `COLUMNS` and maybe some of
        `OPTIONAL_COLUMNS`, whose paths are relative to the CSV; T1 and T2 may be DICOM folders there.
    single_scan : bool
        Take a T1 or a T2 that has no partner.

    Returns
    -------
    list of Scan, at least one
        Every name differs; every path is absolute, because a worker may work in another folder.

    Raises
    ------
    InputError
        If there is no such folder or file, it lists no subject, or the CSV cannot be understood.
    """
    source = Path(source)
    if source.is_dir():
        scans = _with_ages(_without_clashes(_find_in_bids(source, single_scan)), source)
    elif source.exists():
        scans = _read_table(source, single_scan)
    else:
        raise InputError(f"The input {source} does not exist; wanted a BIDS folder or a CSV with {', '.join(COLUMNS)}: check the path.")
    return [_absolute(scan) for scan in scans]


def _absolute(scan: Scan) -> Scan:
    paths = {role: given.path.absolute() for role, given in scan.inputs.items()}
    return replace(scan, t1=paths.get("t1"), t2=paths.get("t2"), mask=paths.get("mask"))


def select(scans: list[Scan], selection: Selection) -> list[Scan]:
    """Choose scans.

    Returns
    -------
    list of Scan
        One that was asked for and is not there stays in it, with the reason.

    Raises
    ------
    InputError
        If none that was asked for is there.
    """
    participants, subjects = _wanted(selection.participants, "sub-"), {scan.subject for scan in scans}
    chosen = [scan for scan in scans if not participants or scan.subject in participants]
    absent = [_absent("participant", label, "", subjects) for label in participants if label not in subjects]
    wanted_sessions, sessions = _wanted(selection.sessions, "ses-"), {scan.session for scan in chosen}
    absent += [_absent("session", "", label, sessions) for label in wanted_sessions if chosen and label not in sessions]
    chosen = [scan for scan in chosen if not wanted_sessions or scan.session in wanted_sessions]
    if absent and not chosen:
        raise InputError(" ".join(scan.reason for scan in absent))
    return [*chosen, *absent][selection.part - 1 :: selection.parts]


def _wanted(labels: Sequence[str], prefix: str) -> list[str]:
    return list(dict.fromkeys(prefix + label.removeprefix(prefix) for label in labels))


def _absent(kind: str, subject: str, session: str, there: set[str]) -> Scan:
    """Give the row of a label that is not there."""
    label = subject or session
    known = sorted(filter(None, there))
    found = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "") or "none"
    return Scan(subject, session, label, "", reason=f"No {kind} {label} is in the input; found {found}: correct the label.")


def _find_in_bids(root: Path, single_scan: bool) -> list[Scan]:
    scans = [scan for subject in _folders_called(root, "sub") for scan in _scans_of_subject(root, subject, single_scan)]
    if not scans:
        raise InputError(
            f"{root} holds no subject; looked for sub-*/anat and sub-*/ses-*/anat with *_T1w.nii.gz and *_T2w.nii.gz: "
            "give the folder that holds the sub- folders, or a CSV."
        )
    return scans


def _folders_called(place: Path, beginning: str) -> list[Path]:
    """Give the folders whose names begin so in any case; what cannot be looked at counts, so that it becomes a row with its reason."""
    return sorted(path for path in place.iterdir() if path.name.lower().startswith(beginning) and _may_be_folder(path))


def _may_be_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return not path.suffix


def _scans_of_subject(root: Path, subject: Path, single_scan: bool) -> list[Scan]:
    if not _SUBJECT.fullmatch(subject.name):
        return [_misnamed(subject.name, "")]
    try:
        sessions = _folders_called(subject, "ses")
    except OSError as error:
        return [_unpaired(subject.name, "", _fault(error, root))]
    scans = []
    for place in (subject, *sessions):
        session = "" if place == subject else place.name
        if session and not _SESSION.fullmatch(session):
            scans.append(_misnamed(subject.name, session))
            continue
        try:
            if any(path.name == "anat" for path in place.iterdir()):
                scans.extend(_scans_of(root, subject.name, session, single_scan))
            elif session:
                scans.append(_unpaired(subject.name, session, _NO_ANAT.format(f"{subject.name}/{session}")))
        except OSError as error:
            scans.append(_unpaired(subject.name, session, _fault(error, root)))
    return scans or [_unpaired(subject.name, "", _NO_ANAT.format(subject.name))]


def _misnamed(subject: str, session: str) -> Scan:
    """Give the row of a folder whose name is no BIDS name."""
    given, kind, prefix = (session, "session", "ses") if session else (subject, "subject", "sub")
    shown, label = _printable(given), re.sub(r"[^A-Za-z0-9]", "", given[len(prefix) :]) or "01"
    reason = (
        f"The {kind} folder '{shown}' has no BIDS name; wanted {prefix}- and letters and digits alone: "
        f"rename it and its files, for example {prefix}-{label}."
    )
    return _unpaired(_printable(subject), _printable(session), reason)


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)


def _fault(error: OSError, root: Path) -> str:
    """Say why a subject's folder cannot be read, its place as seen from the dataset."""
    path = Path(os.fsdecode(error.filename or root))
    place = path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else "a folder of this subject"
    if is_link_to_nothing(path):
        return f"{place} is a link to nothing; wanted a folder with scans: {GET_IT}."
    return f"{place} cannot be read ({error.strerror or 'input or output error'}): check its permissions and the disk."


def _scans_of(root: Path, subject: str, session: str, single_scan: bool) -> list[Scan]:
    """Pair what one anat folder holds."""
    anat = root / subject / session / "anat"
    files = _files_in(anat, subject, session)
    scans_t1, scans_t2 = ([file for file in files if file.suffix == suffix] for suffix in ("T1w", "T2w"))
    place = anat.relative_to(root).as_posix()  # the way to the dataset may hold a name
    missing = next((suffix for suffix, found in (("T1w", scans_t1), ("T2w", scans_t2)) if not found), None)
    present = scans_t1 or scans_t2
    if missing and not (present and single_scan):
        wanted = "_".join(filter(None, (subject, session, missing)))
        otherwise = f", {ALONE.format(present[0].suffix)}" if present else ""
        other = sum(missing.lower() in path.name.lower() and not path.name.startswith(".") for path in anat.iterdir())
        named = f" ({other} named otherwise)" if other else ""
        return [_unpaired(subject, session, f"No {missing} image in {place}{named}; wanted {wanted}.nii.gz: add it{otherwise}.")]
    pairs = _pair(scans_t1, scans_t2)
    if not pairs and not missing:
        reason = (
            f"{len(scans_t1)} T1w ({_listed(scans_t1)}) and {len(scans_t2)} T2w ({_listed(scans_t2)}) in {place}, "
            "and no two that alone share a name up to T1w and T2w: list the pair in a CSV."
        )
        return [_unpaired(subject, session, reason)]
    masks = [*_masks_in(anat, subject, session)] or [
        mask
        for folder in sorted(root.glob(f"derivatives/*/{subject}/{session or '.'}/anat"))
        for mask in _masks_in(folder, subject, session)
    ]
    paired = {file.path for pair in pairs for file in pair}
    alone = [file for file in (*scans_t1, *scans_t2) if file.path not in paired]
    scans = [_with_mask(_scan(first, second), first, masks, len(pairs) == 1, root) for first, second in pairs]
    for file in alone:
        if single_scan:
            scans.append(_with_mask(_scan(file, None), file, masks, len(alone) == 1 and not pairs, root))
        else:
            lacks = "T1w" if file.suffix == "T2w" else "T2w"
            reason = (
                f"{file.path.name} has no {lacks} of its own, named alike up to T1w and T2w: "
                f"list the pair in a CSV, {ALONE.format(file.suffix)}."
            )
            scans.append(replace(_scan(file, None), reason=reason))
    return scans


def _with_ages(scans: list[Scan], root: Path) -> list[Scan]:
    ages = BidsAges(root)
    sessions = {(scan.subject, scan.session) for scan in scans}
    counts = Counter(subject for subject, _ in sessions)
    return [replace(scan, age=ages.find(scan.subject, scan.session, counts[scan.subject] > 1)) for scan in scans]


def _files_in(folder: Path, subject: str, session: str) -> list[_File]:
    files = []
    for path in sorted(folder.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match:
            entities = dict(entity.split("-", 1) for entity in match[1].split("_"))
            if [f"sub-{entities.get('sub')}", f"ses-{entities['ses']}" if "ses" in entities else ""] == [subject, session]:
                files.append(_File(path, entities, match[2]))
    return files


def _masks_in(folder: Path, subject: str, session: str) -> list[_File]:
    return [file for file in _files_in(folder, subject, session) if file.suffix == "mask" and file.entities.get("desc") == "brain"]


def _pair(scans_t1: list[_File], scans_t2: list[_File]) -> list[tuple[_File, _File]]:
    """Pair the only T1 with the only T2; among several, those whose entities are the same and no others'."""
    if len(scans_t1) == len(scans_t2) == 1:
        return [(scans_t1[0], scans_t2[0])]
    by_name: dict[tuple, tuple[list[_File], list[_File]]] = defaultdict(lambda: ([], []))
    for side, files in enumerate((scans_t1, scans_t2)):
        for file in files:
            by_name[tuple(sorted(file.entities.items()))][side].append(file)
    return [(firsts[0], seconds[0]) for firsts, seconds in by_name.values() if len(firsts) == len(seconds) == 1]


def _with_mask(scan: Scan, lead: _File, masks: list[_File], only_pair: bool, root: Path) -> Scan:
    """Add the mask of the same scan; for the only pair of a folder, one with fewer entities fits too."""
    entities = _identity(lead.entities)
    spaces = (None, lead.entities.get("space"), lead.suffix, *OWN_SPACES)
    near = [mask for mask in masks if mask.entities.get("space") in spaces]
    fitting = [mask for mask in near if _identity(mask.entities) == entities]
    if not fitting and only_pair:
        fitting = [mask for mask in near if _identity(mask.entities).items() <= entities.items()]
    if len(fitting) > 1:
        found = ", ".join(mask.path.relative_to(root).as_posix() for mask in fitting[:3])
        return replace(
            scan, reason=f"{len(fitting)} brain masks fit {lead.path.name} ({found}): keep one, or list the one to use in a CSV."
        )
    return replace(scan, mask=fitting[0].path) if fitting else scan


def _identity(entities: Entities) -> Entities:
    return {key: value for key, value in entities.items() if key not in _PROCESSING}


def _scan(lead: _File, t2: _File | None) -> Scan:
    """Make a scan of a T1, or of a T2 that is alone, and maybe the T1's T2."""
    name = _joined(_identity(lead.entities))
    kept = {key: value for key, value in lead.entities.items() if key not in ("desc", "res")}
    stem = _joined({**kept, "space": kept.get("space", lead.suffix)})
    session = f"ses-{kept['ses']}" if "ses" in kept else ""
    scan = Scan(f"sub-{kept['sub']}", session, name, stem)
    return replace(scan, t2=lead.path) if lead.suffix == "T2w" else replace(scan, t1=lead.path, t2=None if t2 is None else t2.path)


def _unpaired(subject: str, session: str, reason: str) -> Scan:
    name = "_".join(filter(None, (subject, session)))
    return Scan(subject, session, name, f"{name}_space-T1w", reason=reason)


def _joined(entities: Entities) -> str:
    return "_".join(f"{key}-{value}" for key, value in entities.items())


def _listed(files: Sequence[_File], most: int = 4) -> str:
    return ", ".join(file.path.name for file in files[:most]) + (", ..." if len(files) > most else "")


def _without_clashes(scans: list[Scan]) -> list[Scan]:
    """Turn scans whose results would get the same names into one with a reason."""
    counts = Counter(scan.name for scan in scans)
    kept: dict[str, Scan] = {}
    for scan in scans:
        if counts[scan.name] > 1 and scan.name not in kept:
            leads = [other.t1 or other.t2 for other in scans if other.name == scan.name]
            names = ", ".join(sorted(lead.name for lead in leads if lead is not None))
            reason = f"{counts[scan.name]} scans differ only in how they were processed ({names}): list the one to use in a CSV."
            scan = replace(scan, t1=None, t2=None, mask=None, reason=reason)
        kept.setdefault(scan.name, scan)
    return list(kept.values())


def _read_table(path: Path, single_scan: bool) -> list[Scan]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        header = text.split("\n", 1)[0]
        separator = max(",;\t", key=header.count)  # a spreadsheet's CSV has semicolons in much of Europe
        rows = list(csv.reader(text.splitlines(), delimiter=separator, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); wanted a CSV in UTF-8: save it as CSV UTF-8.") from error
    names = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [column for column in COLUMNS if column not in names]
    if missing and not (single_scan and missing in (["t1"], ["t2"])):
        raise InputError(
            f"{path} has no column {', '.join(missing)}; found {', '.join(filter(None, names)) or 'none'}; wanted "
            f"{', '.join(COLUMNS)} and, if there are any, {', '.join(OPTIONAL_COLUMNS)}: name them in the first line."
        )
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(f"{path} has several columns called {', '.join(twice)}; wanted one of each: remove or rename the others.")
    scans: list[Scan] = []
    lines: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        cells = dict(zip(names, (cell.strip() for cell in row), strict=False))
        if not any(cells.values()):
            continue
        scan = _scan_of_row(cells, number, path.parent, single_scan)
        if any(cell.strip() for cell in row[len(names) :]):
            found = f"line {number} has {len(row)} cells and the first line {len(names)}"
            scan = replace(scan, reason=f"{found}; wanted as many: write 3.5 and not 3,5, and put cells that hold a comma in quotes.")
        first = lines.setdefault(scan.name.casefold(), number)  # some file systems do not tell a from A
        if first != number:
            raise InputError(
                f"{path} lists {scan.name} twice, in lines {first} and {number}: give each scan a subject or session of its own."
            )
        scans.append(scan)
    if not scans:
        raise InputError(f"{path} lists no subject; wanted one line for each below {', '.join(COLUMNS)}: fill it in.")
    return scans


def _scan_of_row(cells: dict[str, str], line: int, folder: Path, single_scan: bool) -> Scan:
    labels = {}
    reasons = []
    for column, prefix in (("subject", "sub-"), ("session", "ses-")):
        given = cells.get(column, "")
        labels[column] = prefix + given.removeprefix(prefix) if given else ""
        if given and not LABEL.fullmatch(given.removeprefix(prefix)):
            wanted = re.sub(r"[^A-Za-z0-9]", "", given.removeprefix(prefix))
            reasons.append(f"Line {line} names the {column} {given!r}; wanted letters and digits alone: write {wanted or '01'}.")
    if not labels["subject"]:
        labels["subject"] = f"line {line}"
        reasons.append(f"Line {line} has no subject: fill it in.")
    missing = [role for role in ("t1", "t2") if not cells.get(role)]
    if len(missing) == 2:
        reasons.append(f"Line {line} has neither t1 nor t2: fill them in.")
    elif missing and not single_scan:
        other = "T2" if missing == ["t1"] else "T1"
        reasons.append(f"Line {line} has no {missing[0]}: fill it in, {ALONE.format(other)}.")
    name = "_".join(filter(None, labels.values()))
    t1, t2, mask = (folder / cells[role] if cells.get(role) else None for role in ("t1", "t2", "mask"))
    return Scan(
        labels["subject"],
        labels["session"],
        name,
        f"{name}_space-{'T2w' if missing == ['t1'] else 'T1w'}",
        t1,
        t2,
        mask,
        reason=" ".join(reasons),
        t1_series=cells.get("t1_series", ""),
        t2_series=cells.get("t2_series", ""),
        age=age_of(cells, None, f"line {line}", f" in place of {IN_ANY_UNITS}"),
    )
