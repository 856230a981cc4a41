"""The iSeg challenges' folders: `subject-N-T1`, `subject-N-T2` and, for the labelled subjects, `subject-N-label`.

iSeg-2017 and iSeg-2019 name their files alike and differ in the folders' names alone (iSeg-2017-Training, iSeg-2019-Validation, ...),
so files are found by their names at any depth. As distributed they are Analyze pairs (.hdr with .img); NIfTI is read too.
"""

import re
from pathlib import Path

from ...core.errors import InputError
from .sites import LabelledFiles

_NAME = re.compile(r"subject-(\d+)-(t1|t2|label)\.(hdr|nii|nii\.gz)", re.IGNORECASE)


def find_iseg(folder: Path) -> tuple[list[LabelledFiles], list[str]]:
    """Find the subjects of a folder in the challenges' layout.

    Parameters
    ----------
    folder : Path
        With the files at any depth.

    Returns
    -------
    labelled : list of LabelledFiles
        In the order of their numbers.
    unlabelled : list of str
        Names of those with T1 and T2 but no label: the challenge's test subjects.

    Raises
    ------
    InputError
        If the folder holds no subject, one lacks its T1 or T2, two files are of one subject and kind, or a .hdr has no .img.
    """
    if not folder.is_dir():
        raise InputError(f"The iSeg folder {folder} does not exist; wanted the folder with subject-1-T1.hdr and so on: check the path.")
    found = _files(folder)
    if not found:
        raise InputError(
            f"{folder} holds no iSeg subject; wanted subject-1-T1.hdr, subject-1-T2.hdr and subject-1-label.hdr with their .img, "
            "in it or below it: unpack the challenge's data there."
        )
    labelled, unlabelled = [], []
    for number, files in sorted(found.items()):
        name = f"subject-{number}"
        missing = [role.upper() for role in ("t1", "t2") if role not in files]
        if missing:
            raise InputError(f"{name} in {folder} has no {' and no '.join(missing)}; wanted T1 and T2 of each subject: add it.")
        if "label" in files:
            labelled.append(LabelledFiles(name, files["t1"], files["t2"], files["label"]))
        else:
            unlabelled.append(name)
    return labelled, unlabelled


def is_iseg(folder: Path) -> bool:
    """Whether a folder holds files in the challenges' layout."""
    return bool(_files(folder))


def _files(folder: Path) -> dict[int, dict[str, Path]]:
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.rglob("subject-*")):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        if match[3].lower() == "hdr" and not any(path.with_suffix(ending).is_file() for ending in (".img", ".IMG")):
            raise InputError(f"{path} has no .img beside it; wanted both halves of an Analyze image: add it.")
        role = match[2].lower()
        other = found.setdefault(int(match[1]), {}).setdefault(role, path)
        if other != path:
            raise InputError(f"{other} and {path} are of one subject and kind; wanted one of each: name the folder of one challenge alone.")
    return found
