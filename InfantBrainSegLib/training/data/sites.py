"""A site's own labelled scans: in one folder a subject, as `synthesize` writes them, or listed in a CSV."""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InputError
from ...imaging.files import EXTENSIONS

COLUMNS = ("subject", "t1", "t2", "label")  # that a CSV must have; mask is optional
_ROLES = ("t1", "t2", "label", "mask")


@dataclass(frozen=True)
class LabelledFiles:
    """The files of one subject.

    Attributes
    ----------
    name : str
    t1, t2, label : Path
    mask : Path or None
        The brain; without one, where T1 and T2 exceed their background.
    """

    name: str
    t1: Path
    t2: Path
    label: Path
    mask: Path | None = None

    def fingerprint(self) -> str:
        """The name with a checksum of all files, so that a run does not go on with other scans."""
        digest = hashlib.sha256()
        for path in (self.t1, self.t2, self.label, self.mask):
            for part in [] if path is None else _halves(path):
                digest.update(part.read_bytes())
            digest.update(b"|")
        return f"{self.name} {digest.hexdigest()[:12]}"


def _halves(path: Path) -> list[Path]:
    if path.suffix.lower() != ".hdr":
        return [path]
    return [path, *(other for other in (path.with_suffix(".img"), path.with_suffix(".IMG")) if other.is_file())]


def find_in_folders(root: Path) -> list[LabelledFiles]:
    """Find subjects as `synthesize` writes them: a folder each, with T1, T2, label and perhaps mask.

    Returns
    -------
    list of LabelledFiles, in the order of names

    Raises
    ------
    InputError
        If there is no subject, or one lacks its T1, T2 or label.
    """
    subjects = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = {role: found for role in _ROLES if (found := _image(folder, role)) is not None}
        if not files:
            continue
        missing = [role for role in COLUMNS[1:] if role not in files]
        if missing:
            raise InputError(
                f"{folder} has no {' and no '.join(missing)} image; wanted T1, T2 and label of each subject: "
                "add it, or move the folder away."
            )
        subjects.append(LabelledFiles(folder.name, **files))
    if not subjects:
        raise InputError(
            f"{root} holds no labelled subject; wanted a folder for each with T1.nii.gz, T2.nii.gz and label.nii.gz, "
            f"iSeg's subject-N-T1 files, or a CSV with {', '.join(COLUMNS)}."
        )
    return subjects


def _image(folder: Path, role: str) -> Path | None:
    named = {f"{role}{ending}": ending for ending in EXTENSIONS if ending != ".img"}
    found = [path for path in sorted(folder.iterdir()) if path.name.lower() in named]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1].name} are both the {role} of one subject; wanted one: move the other away.")
    return found[0] if found else None


def read_table(path: Path) -> list[LabelledFiles]:
    """Read a CSV with the columns subject, t1, t2, label and perhaps mask; paths are relative to the CSV.

    Raises
    ------
    InputError
        If a column, a cell or a file is missing, or a subject is listed twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        header = text.split("\n", 1)[0]
        rows = list(csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=header.count)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}); wanted a CSV in UTF-8: save it as CSV UTF-8.") from error
    cells = [{str(key).strip().lower(): str(value or "").strip() for key, value in row.items()} for row in rows]
    missing = [column for column in COLUMNS if not cells or column not in cells[0]]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)} or no line below; wanted {', '.join(COLUMNS)} and, if any, mask.")
    subjects: dict[str, LabelledFiles] = {}
    for line, row in enumerate(cells, start=2):
        empty = [column for column in COLUMNS if not row[column]]
        if empty:
            raise InputError(f"Line {line} of {path} has no {' and no '.join(empty)}; wanted T1, T2 and label of each subject: fill it in.")
        files = {role: path.parent / row[role] for role in _ROLES if row.get(role)}
        absent = [str(file) for file in files.values() if not file.is_file()]
        if absent:
            raise InputError(f"Line {line} of {path} names {absent[0]}, which does not exist: check the path.")
        if row["subject"] in subjects:
            raise InputError(f"{path} lists {row['subject']} twice; wanted each subject once: give each a name of its own.")
        subjects[row["subject"]] = LabelledFiles(row["subject"], **files)
    return list(subjects.values())
