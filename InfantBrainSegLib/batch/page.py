"""`cohort.html`: the cohort on one page that needs no network, to look through with the keyboard."""

import base64
import hashlib
import html
import json
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .. import __version__
from ..core.contract import OK, SCAN_COLUMN, STATUS_COLUMN
from ..core.labels import TISSUES
from .cohort import SEPARATOR, Row
from .curves import Measure, draw, outliers
from .review import made_of

TEMPLATE = "cohort_page.html"
THUMBNAILS_BYTES = 14_000_000  # with the rest a page of 400 scans stays under 20 MB
_REDUCTIONS = (3, 4, 6)  # of the overview's 932 pixels, until all fit
_JPEG_QUALITY = 72
_LABELS, _OVERVIEW = "_dseg.nii.gz", "_overview.png"
_RATIO = "GM/WM ratio"


def make_page(rows: Sequence[Row], output_dir: Path) -> str:
    """Lay a cohort out as a page.

    Parameters
    ----------
    rows : sequence of Row
    output_dir : Path
        Of the results, where the page will lie: their overviews become small pictures in it.
    """
    measures = _measures(rows)
    far = {measure.title: outliers(measure) for measure in measures}
    told = [{**_told(row), "far": [title for title, names in far.items() if row[SCAN_COLUMN] in names]} for row in rows]
    overviews = {row["scan"]: output_dir / row["overview"] for row in told if row["overview"]}
    data = {
        "id": hashlib.sha256("\n".join(row["scan"] for row in told).encode()).hexdigest()[:12],
        "version": __version__,
        "written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "rows": told,
        "thumbs": _thumbnails(overviews),
    }
    plots = "".join(_figure(measure, far[measure.title]) for measure in measures)
    template = (files(__package__) / TEMPLATE).read_text(encoding="utf-8")
    content = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return template.replace("<!--PLOTS-->", plots).replace("<!--DATA-->", content)


def _told(row: Row) -> dict[str, Any]:
    numbers = {name: _number(row.get(name)) for name in ("age_months", "mean_confidence", *_columns())}
    labels = row.get("segmentation", "")
    checks = [name for column in ("checks_stop", "checks_warn") for name in _several(row.get(column))]
    return {
        "scan": row[SCAN_COLUMN],
        "status": row[STATUS_COLUMN],
        "reason": row.get("reason", ""),
        "verdict": row.get("verdict", ""),
        "checks": checks,
        "warnings": _several(row.get("warnings")),
        "ratio": _ratio(row),
        "overview": labels.removesuffix(_LABELS) + _OVERVIEW if labels else "",
        "review": row.get("review", ""),
        "note": row.get("review_note", ""),
        "made": made_of(row),
        **numbers,
    }


def _columns() -> list[str]:
    return [f"{tissue.short_name.lower()}_ml" for tissue in TISSUES]


def _several(cell: str | None) -> list[str]:
    return cell.split(SEPARATOR) if cell else []


def _number(cell: str | None) -> float | None:
    return float(cell) if cell else None


def _ratio(row: Row) -> float | None:
    gray, white = _number(row.get("gm_ml")), _number(row.get("wm_ml"))
    return round(gray / white, 4) if gray is not None and white else None


def _measures(rows: Sequence[Row]) -> list[Measure]:
    done = [row for row in rows if row[STATUS_COLUMN] == OK]
    names = tuple(row[SCAN_COLUMN] for row in done)
    ages = np.array([_number(row.get("age_months")) for row in done], float)
    columns = {f"{tissue.short_name} (ml)": [_number(row.get(f"{tissue.short_name.lower()}_ml")) for row in done] for tissue in TISSUES}
    columns[_RATIO] = [_ratio(row) for row in done]
    columns["Mean confidence"] = [_number(row.get("mean_confidence")) for row in done]
    return [Measure(title, names, ages, np.array(values, float)) for title, values in columns.items()]


def _figure(measure: Measure, far: Sequence[str]) -> str:
    drawn = draw(measure)
    if not drawn:
        return ""
    buttons = ", ".join(f'<button type="button" data-scan="{html.escape(name)}">{html.escape(name)}</button>' for name in far)
    return f"<figure>{drawn}<figcaption>Outliers: {buttons or 'none'}</figcaption></figure>"


def _thumbnails(overviews: dict[str, Path]) -> dict[str, str]:
    """Give each overview as a small JPEG in a data URI; of a cohort too large for that, none: the page shows the files themselves."""
    allowed = THUMBNAILS_BYTES / max(len(overviews), 1)
    sample = next((path for path in overviews.values() if path.is_file()), None)
    if sample is None:
        return {}
    reduction = next((factor for factor in _REDUCTIONS if len(_thumbnail(sample, factor)) <= allowed), None)
    if reduction is None:
        return {}
    made, left = {}, THUMBNAILS_BYTES
    for scan, path in overviews.items():
        uri = _thumbnail(path, reduction) if path.is_file() else ""
        if uri and len(uri) <= left:
            made[scan] = uri
            left -= len(uri)
    return made


def _thumbnail(path: Path, reduction: int) -> str:
    """Give a picture with each side reduced so many times; empty where it cannot be read."""
    try:
        picture = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., :3]  # (H, W, 3)
        height, width = (side // reduction * reduction for side in picture.shape[:2])
        blocks = picture[:height, :width].reshape(height // reduction, reduction, width // reduction, reduction, 3)
        small = blocks.mean((1, 3)).round().astype(np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "small.jpg"
            sitk.WriteImage(sitk.GetImageFromArray(small, isVector=True), str(file), True, _JPEG_QUALITY)
            return "data:image/jpeg;base64," + base64.b64encode(file.read_bytes()).decode()
    except (RuntimeError, ValueError, IndexError):
        return ""
