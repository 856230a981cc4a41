"""A finished run as one HTML page that needs nothing but itself: to read in any browser, and to print on one or two A4 sides.

`page_of` takes from a report what the page shows, `to_html` lays it out, with the style that lies beside this file. Elements are built
as a tree, so that every value is escaped.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

from ..checks.growth import GRAY_TO_WHITE_AGES_MONTHS, gray_to_white_range
from ..checks.result_checks import ACCEPT, DO_NOT_USE, LOOK, Place, Verdict
from ..core.check import PASS, STOP, WARN, Check, Reason, SignCode, inside_of, warnings_of
from ..core.errors import ErrorCode, InputError
from ..core.labels import GM, TISSUES, WM
from ..pipeline.volumes import TissueVolume

STYLE = "html_report.css"
NOTICE = "Research use only; not a medical device."
KNOWN_BIAS = (  # as in MODEL_CARD.md
    "Accuracy on real six-month-olds has not been measured with the bundled weights. In ten newborns with manual labels volumes of GM were "
    "off by -2 to 4 %, those of WM by -5 to 2 %. In real infants thin blades of WM end early, above all with T1 alone, so that too much is "
    "called GM. Compare groups of like age and scanner."
)
PICTURE_ALT = "Axial, coronal and sagittal slices: T1 in the left column, T2 in the middle, the labels in colour at the right"
PICTURE_CAPTION = "T1, T2 and the labels. The patient's right is on the left of axial and coronal slices."
NO_NORM = "no norm"
SHA_DIGITS = 16

_DECISIONS = {ACCEPT: "Accept", LOOK: "Look before use", DO_NOT_USE: "Do not use"}
_ACCEPTED = "No sign of trouble was found. Look at the picture all the same."
_EDITED = "Edited since: the verdict is of the automatic result."
_RANGE_NOTE = (
    "The range is the lowest and the highest of 29 six-month-olds (13 of one scanner, 16 of three others), labelled by a network trained "
    f"on experts' labels; it is used from {GRAY_TO_WHITE_AGES_MONTHS[0]:g} to {GRAY_TO_WHITE_AGES_MONTHS[1]:g} months. "
    f"{NO_NORM.capitalize()}: no published volumes were found for this definition (the cerebrum alone, with basal ganglia as GM and all "
    "its CSF). Confidence ranks results; it is no percentage of correct voxels."
)
_STATUS_ORDER = (STOP, WARN, PASS)
_SUM = "Together"
_UNKNOWN = "–"
_MINUS = "−"


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Attributes
    ----------
    png : bytes
        A PNG file.
    alt : str
        What it shows, for those who do not see it.
    caption : str
    """

    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Page:
    """What the page shows; nothing of it may name a patient or a path.

    Attributes
    ----------
    volumes : tuple of TissueVolume
        Of the automatic result.
    verdict : Verdict
    checks : tuple of Check
    notes : tuple of str
        Warnings that no check gives.
    age_months : float or None
        From birth at term.
    versions, weights : mapping of str to str
        Of the software by its name; SHA-256 by network.
    scans : mapping of str to str
        What may be said of each input, by role.
    device : str
    pictures : tuple of Picture
    edited : tuple of TissueVolume
        After edits by hand; none where nothing was edited.
    made : str
        When.
    review : str
        Who looked the result through, in a sentence.
    """

    volumes: tuple[TissueVolume, ...]
    verdict: Verdict
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    age_months: float | None
    versions: Mapping[str, str]
    weights: Mapping[str, str]
    scans: Mapping[str, str]
    device: str
    pictures: tuple[Picture, ...] = ()
    edited: tuple[TissueVolume, ...] = ()
    made: str = ""
    review: str = ""


def page_of(
    report: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    edited: Sequence[TissueVolume] = (),
    made: str = "",
    review: str = "",
) -> Page:
    """Take from a run's report what the page shows.

    Parameters
    ----------
    report : mapping
        As `Report.to_json` gives it or report.json holds it.
    pictures : sequence of Picture
    edited : sequence of TissueVolume
        As measured again after edits by hand.
    made : str
        When, in words.
    review : str
        Who looked the result through, in a sentence.

    Raises
    ------
    InputError
        If the report is laid out otherwise.
    """
    try:
        checks = tuple(map(Check.from_dict, report["checks"]))
        said = warnings_of(checks)
        weights = {stage: entry["sha256"] for stage, entry in report["weights"].items()} | dict(report["extraction"].get("weights", {}))
        inputs = report.get("inputs") or {}
        age_months = report["options"]["age_months"]
        return Page(
            volumes=tuple(TissueVolume(**volume) for volume in report["volumes"]),
            verdict=Verdict.from_dict(report["verdict"]),
            checks=checks,
            notes=tuple(warning for warning in report["warnings"] if warning not in said),
            age_months=None if age_months is None else float(age_months),
            versions=dict(report["versions"]),
            weights=weights,
            scans={role: f"{entry['kind']}, {_short(entry['sha256'])}" for role, entry in inputs.items()},
            device=_device(report["device"]),
            pictures=tuple(pictures),
            edited=tuple(edited),
            made=made,
            review=review,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"The report is laid out otherwise than this version writes it ({type(error).__name__}): segment the scan again.",
            ErrorCode.REPORT_VERSION,
        ) from error


def to_html(page: Page) -> str:
    """Lay the page out.

    Returns
    -------
    str
        A whole HTML document, which loads nothing from elsewhere.
    """
    root = ElementTree.Element("html", lang="en")
    head = _add(root, "head")
    _add(head, "meta", charset="utf-8")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    _add(head, "meta", http_equiv="Content-Security-Policy", content=policy)
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "title", "Infant brain tissue volumes")
    _add(head, "style", files(__package__).joinpath(STYLE).read_text(encoding="utf-8"))
    body = _add(root, "body")
    _header(body, page)
    main = _add(body, "main")
    _verdict(main, page)
    _volumes(main, page)
    _bias(main)
    _pictures(main, page)
    _checks(main, page)
    _origin(main, page)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _add(parent: ElementTree.Element, tag: str, text: str = "", /, **attributes: str) -> ElementTree.Element:
    """Add an element; in an attribute's name an underscore stands for a hyphen, and one at the end for nothing."""
    made = ElementTree.SubElement(parent, tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    made.text = text
    return made


def _section(parent: ElementTree.Element, title: str) -> ElementTree.Element:
    name = _word(title)
    section = _add(parent, "section", aria_labelledby=name, class_=name)
    _add(section, "h2", title, id=name)
    return section


def _word(text: str) -> str:
    """Make one word of a text, for a class or an id."""
    return text.lower().replace(" ", "-")


def _header(body: ElementTree.Element, page: Page) -> None:
    header = _add(body, "header")
    _add(header, "h1", "Infant brain tissue volumes")
    age = "age not given" if page.age_months is None else f"age {page.age_months:g} months from birth at term"
    made = [page.made] if page.made else []
    _add(header, "p", " · ".join([f"InfantBrainSeg {page.versions.get('InfantBrainSeg', _UNKNOWN)}", age, *made]))
    _add(header, "p", NOTICE, class_="notice")


def _verdict(main: ElementTree.Element, page: Page) -> None:
    section = _section(main, "Verdict")
    verdict = page.verdict
    box = _add(section, "div", class_=f"judged {_word(verdict.decision)}")
    _add(box, "p", _DECISIONS.get(verdict.decision, verdict.decision), class_="decision")
    if page.edited:
        _add(box, "p", _EDITED)
    if not verdict.reasons:
        _add(box, "p", _ACCEPTED)
    reasons = _add(box, "ul") if verdict.reasons else None
    for reason in verdict.reasons:
        if reasons is not None:
            _add(reasons, "li", _reason(reason))
    if verdict.places:
        _add(box, "p", f"Where to look: {'; '.join(map(_place, verdict.places))}.")
    if page.review:
        _add(section, "p", page.review)


def _reason(reason: Reason) -> str:
    """Say a reason; what to do about a check stands in the table of the checks."""
    remedy = f": {reason.remedy}" if reason.remedy and isinstance(reason.code, SignCode) else ""
    return f"{reason.text[:1].upper()}{reason.text[1:]}{remedy}."


def _place(place: Place) -> str:
    where = ", ".join(_signed(mm, 0) for mm in place.ras_mm)
    return f"slice {place.slice_index} at RAS {where} mm, {100 * place.doubtful_share:.0f} % in doubt"


def _volumes(main: ElementTree.Element, page: Page) -> None:
    section = _section(main, "Volumes")
    table = _add(section, "table")
    columns = ["Tissue", "Volume (ml)", *(["Change (ml)"] if page.edited else []), "Share (%)", "Confidence", "Range at this age"]
    row = _add(_add(table, "thead"), "tr")
    for index, column in enumerate(columns):
        _add(row, "th", column, scope="col", class_="number" if 0 < index < len(columns) - 1 else "text")
    if page.edited:
        _group(table, page, page.volumes, "Automatic")
        _group(table, page, page.edited, "Edited")
    else:
        _group(table, page, page.volumes)
    _add(section, "p", _RANGE_NOTE, class_="small")


def _group(table: ElementTree.Element, page: Page, volumes: Sequence[TissueVolume], title: str = "") -> None:
    """Add the rows of one measurement: the tissues, their sum, and GM for WM."""
    body = _add(table, "tbody")
    columns = 4 if page.edited else 3  # of numbers
    if title:
        _add(_add(body, "tr", class_="group"), "th", title, scope="rowgroup", colspan=str(columns + 2))
    before = {volume.tissue: volume.volume_ml for volume in _with_sum(page.volumes)}
    for volume in _with_sum(volumes):
        row = _add(body, "tr", class_="sum" if volume.tissue == _SUM else "tissue")
        _tissue_head(row, volume.tissue)
        change = _signed(volume.volume_ml - before.get(volume.tissue, 0.0), 1, plus=True) if volumes is page.edited else ""
        sure = _UNKNOWN if volume.mean_confidence is None else f"{volume.mean_confidence:.2f}"
        for text in (f"{volume.volume_ml:.1f}", *([change] if page.edited else []), f"{100 * volume.fraction:.1f}", sure):
            _add(row, "td", text, class_="number")
        _add(row, "td", NO_NORM, class_="quiet")
    _ratio(_add(body, "tr"), page, {volume.tissue: volume.volume_ml for volume in volumes}, columns)


def _with_sum(volumes: Sequence[TissueVolume]) -> list[TissueVolume]:
    """Add the row of all tissues together."""
    voxels = sum(volume.voxels for volume in volumes)
    known = [volume.mean_confidence * volume.voxels for volume in volumes if volume.mean_confidence is not None]
    whole = voxels and len(known) == len([volume for volume in volumes if volume.voxels])
    mm3, ml, fraction = (sum(getattr(volume, name) for volume in volumes) for name in ("volume_mm3", "volume_ml", "fraction"))
    return [*volumes, TissueVolume(_SUM, voxels, mm3, ml, fraction, sum(known) / voxels if whole else None)]


def _tissue_head(row: ElementTree.Element, name: str) -> None:
    head = _add(row, "th", scope="row")
    tissue = next((tissue for tissue in TISSUES if tissue.short_name == name), None)
    if tissue is not None:
        _add(head, "span", class_="swatch", style=f"background: #{bytes(tissue.color).hex()}", aria_hidden="true")
    _add(head, "span", name if tissue is None else f"{tissue.name} ({name})")


def _ratio(row: ElementTree.Element, page: Page, volume_ml: Mapping[str, float], columns: int) -> None:
    _add(row, "th", "GM/WM ratio", scope="row")
    white = volume_ml.get(WM.short_name, 0.0)
    ratio = volume_ml.get(GM.short_name, 0.0) / white if white else None
    _add(row, "td", _UNKNOWN if ratio is None else f"{ratio:.2f}", class_="number")
    _add(row, "td", colspan=str(columns - 1))
    wanted = gray_to_white_range(page.age_months)
    if wanted is None:
        _add(row, "td", NO_NORM, class_="quiet")
        return
    cell = _add(row, "td", f"{wanted[0]:.2f} to {wanted[1]:.2f}")
    if ratio is not None and not inside_of(ratio, wanted):
        _add(cell, "strong", " outside: look")


def _pictures(main: ElementTree.Element, page: Page) -> None:
    section = _section(main, "Overview")
    if not page.pictures:
        _add(section, "p", "There is no picture.")
    for picture in page.pictures:
        figure = _add(section, "figure")
        data = base64.b64encode(picture.png).decode("ascii")
        _add(figure, "img", src=f"data:image/png;base64,{data}", alt=picture.alt)
        _add(figure, "figcaption", picture.caption)


def _checks(main: ElementTree.Element, page: Page) -> None:
    section = _section(main, "Checks of the scans")
    passed = sum(check.passes for check in page.checks)
    _add(section, "p", f"{passed} of {len(page.checks)} pass.")
    table = _add(section, "table")
    row = _add(_add(table, "thead"), "tr")
    for column in ("Check", "Result", "Measured", "Wanted"):
        _add(row, "th", column, scope="col")
    body = _add(table, "tbody")
    for check in sorted(page.checks, key=lambda check: _STATUS_ORDER.index(check.status)):
        row = _add(body, "tr", class_=check.status)
        _add(row, "th", check.name.capitalize(), scope="row")
        _add(row, "td", check.status, class_="status")
        measured = _add(row, "td", check.found)
        if check.remedy:
            _add(measured, "div", f"{check.remedy[:1].upper()}{check.remedy[1:]}.", class_="remedy")
        _add(row, "td", check.wanted)
    if page.notes:
        _add(section, "h3", "Notes")
        notes = _add(section, "ul")
        for note in page.notes:
            _add(notes, "li", note)


def _bias(main: ElementTree.Element) -> None:
    _add(_section(main, "Known bias"), "p", KNOWN_BIAS)


def _origin(main: ElementTree.Element, page: Page) -> None:
    section = _section(main, "How it was made")
    listed = _add(section, "dl")
    software = ", ".join(f"{name} {version}" for name, version in page.versions.items())
    weights = "; ".join(f"{stage} {_short(sha256)}" for stage, sha256 in page.weights.items())
    scans = "; ".join(f"{role.upper() if role in ('t1', 't2') else role.replace('_', ' ')} {text}" for role, text in page.scans.items())
    rows = {"Software": software, "Weights, SHA-256 begins": weights, "Device": page.device, "Scans, SHA-256 begins": scans}
    for name, text in rows.items():
        if text:
            _add(listed, "dt", name)
            _add(listed, "dd", text)


def _device(device: Mapping[str, Any]) -> str:
    name = f" ({device['name']})" if device.get("name") else ""
    return f"{device['used']}{name}, {device['precision']}, {device['threads']} CPU threads"


def _short(sha256: str) -> str:
    return sha256[:SHA_DIGITS]


def _signed(value: float, decimals: int, plus: bool = False) -> str:
    """Write a number with a true minus sign; what rounds to 0 has no sign."""
    text = f"{abs(value):.{decimals}f}"
    if not float(text):
        return text
    return f"{_MINUS if value < 0 else '+' if plus else ''}{text}"
