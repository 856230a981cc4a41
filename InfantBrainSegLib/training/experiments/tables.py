"""Tables 1 and 2 in the paper's layout, beside the paper's figures."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from ...evaluation.metrics import TissueMetrics

Cohort = dict[str, dict[str, TissueMetrics]]  # from a subject's name, then from a tissue's short name

# Rows of both tables: the paper's name, our field, decimals. The challenge's "MHD" is the maximum Hausdorff distance (see `metrics`).
ROWS = (("DOC", "dice", 3), ("ASD", "average_surface_distance_mm", 3), ("MHD", "hausdorff_mm", 2))

# Table 1 of the paper: its 13 test subjects, then mean and SD as printed there.
PAPER_SUBJECTS = {
    "CSF": {
        "DOC": (0.957, 0.951, 0.959, 0.946, 0.956, 0.955, 0.956, 0.960, 0.958, 0.940, 0.956, 0.942, 0.959),
        "ASD": (0.119, 0.131, 0.123, 0.144, 0.118, 0.125, 0.118, 0.115, 0.115, 0.158, 0.120, 0.151, 0.110),
        "MHD": (7.28, 9.0, 11.23, 9.90, 9.38, 11.66, 8.66, 9.0, 8.94, 11.23, 7.81, 10.82, 10.10),
    },
    "GM": {
        "DOC": (0.923, 0.907, 0.920, 0.913, 0.925, 0.916, 0.926, 0.917, 0.914, 0.901, 0.920, 0.910, 0.919),
        "ASD": (0.30, 0.361, 0.337, 0.351, 0.318, 0.333, 0.280, 0.320, 0.335, 0.428, 0.321, 0.411, 0.333),
        "MHD": (5.39, 5.10, 6.78, 7.87, 5.66, 8.54, 4.90, 6.78, 5.10, 7.0, 6.16, 8.31, 6.32),
    },
    "WM": {
        "DOC": (0.906, 0.880, 0.902, 0.895, 0.905, 0.906, 0.914, 0.901, 0.90, 0.870, 0.898, 0.882, 0.893),
        "ASD": (0.353, 0.424, 0.393, 0.392, 0.367, 0.388, 0.317, 0.379, 0.411, 0.498, 0.382, 0.463, 0.401),
        "MHD": (7.55, 6.40, 8.12, 7.21, 5.10, 7.48, 4.36, 7.81, 7.81, 6.40, 6.71, 7.55, 5.66),
    },
}
# Table 2 of the paper: (mean, SD).
PAPER_WITH_CONTEXT = {
    "CSF": {"DOC": (0.954, 0.007), "ASD": (0.127, 0.015), "MHD": (9.62, 1.35)},
    "GM": {"DOC": (0.916, 0.007), "ASD": (0.341, 0.041), "MHD": (6.46, 1.23)},
    "WM": {"DOC": (0.896, 0.012), "ASD": (0.40, 0.046), "MHD": (6.78, 1.16)},
}
PAPER_WITHOUT_CONTEXT = {
    "CSF": {"DOC": (0.950, 0.006), "ASD": (0.137, 0.014), "MHD": (8.94, 0.98)},
    "GM": {"DOC": (0.911, 0.008), "ASD": (0.366, 0.041), "MHD": (6.61, 1.24)},
    "WM": {"DOC": (0.888, 0.012), "ASD": (0.433, 0.050), "MHD": (7.12, 1.31)},
}
_FOOTNOTE = (
    "ASD and MHD in mm; MHD is the maximum Hausdorff distance, as in the challenge's tables. A dash: the tissue is absent from one side."
)


def summary(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample SD of the values that exist; NaN where there are too few."""
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def table1(cohort: Cohort) -> str:
    """Lay out each subject's figures with context, the mean (SD), and the paper's Table 1 below.

    Parameters
    ----------
    cohort : dict
        Of the second stage.
    """
    names = [f"#{name.rpartition('-')[2]}" for name in cohort]
    ours = {
        tissue: {row: [getattr(scores[tissue], key) for scores in cohort.values()] for row, key, _ in ROWS} for tissue in _tissues(cohort)
    }
    means = {tissue: {row: summary(values) for row, values in of_tissue.items()} for tissue, of_tissue in ours.items()}
    paper_names = [f"#{number}" for number in range(1, len(PAPER_SUBJECTS["CSF"]["DOC"]) + 1)]
    count = f"{len(cohort)} test subject{'s' * (len(cohort) != 1)}"
    return "\n".join(
        [
            f"Table 1. DOC, ASD and MHD with context information, {count}",
            _per_subject(names, ours, means),
            "",
            f"The paper's Table 1, {len(paper_names)} test subjects of iSeg-2017",
            _per_subject(paper_names, PAPER_SUBJECTS, PAPER_WITH_CONTEXT),
            _FOOTNOTE,
        ]
    )


def _tissues(cohort: Cohort) -> list[str]:
    """Short names of the tissues that were measured; the paper has figures of three."""
    return list(next(iter(cohort.values()), {}))


def _per_subject(names, figures, means) -> str:
    rows = [["", *names, "Mean(std)"]]
    for tissue, of_tissue in figures.items():
        rows.append([tissue, *[""] * (len(names) + 1)])
        for row, _, decimals in ROWS:
            values = of_tissue[row]
            rows.append([row, *(_cell(value, decimals) for value in values), _pair(means[tissue][row], decimals, "{}({})")])
    return _columns(rows)


def table2(with_context: Cohort, without_context: Cohort) -> str:
    """Lay out mean ± SD with and without context, beside the paper's Table 2.

    Parameters
    ----------
    with_context, without_context : dict
        Of the second and of the first stage, the same subjects.
    """
    rows = [["Methods", "Tissues", *(name for name, *_ in ROWS), *(f"paper: {name}" for name, *_ in ROWS)]]
    blocks = (
        ("Adding context information", with_context, PAPER_WITH_CONTEXT),
        ("Without context information", without_context, PAPER_WITHOUT_CONTEXT),
    )
    for method, cohort, paper in blocks:
        for index, name in enumerate(_tissues(cohort)):
            ours = [_pair(_of(cohort, name, key), decimals) for _, key, decimals in ROWS]
            theirs = [_pair(paper.get(name, {}).get(row, (math.nan, math.nan)), decimals) for row, _, decimals in ROWS]
            rows.append([method if index == 0 else "", name, *ours, *theirs])
    count = len(with_context)
    return "\n".join(
        [f"Table 2. Average results with and without context information, {count} test subject{'s' * (count != 1)}", _columns(rows)]
    )


def tables_report(with_context: Cohort, without_context: Cohort) -> dict:
    """Everything in both tables, and every other measure, as plain values for JSON; what does not exist is null."""
    cohorts = {"with_context": with_context, "without_context": without_context}
    ours = {
        name: {
            "subjects": {subject: {tissue: _plain(asdict(one)) for tissue, one in scores.items()} for subject, scores in cohort.items()},
            "mean_sd": {
                tissue: {row: _plain(dict(zip(("mean", "sd"), _of(cohort, tissue, key), strict=True))) for row, key, _ in ROWS}
                for tissue in _tissues(cohort)
            },
        }
        for name, cohort in cohorts.items()
    }
    paper = {"subjects": PAPER_SUBJECTS, "with_context_mean_sd": PAPER_WITH_CONTEXT, "without_context_mean_sd": PAPER_WITHOUT_CONTEXT}
    return {"ours": ours, "paper": paper}


def _plain(values: dict) -> dict:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def _of(cohort: Cohort, tissue: str, key: str) -> tuple[float, float]:
    return summary([getattr(scores[tissue], key) for scores in cohort.values()])


def _cell(value: float, decimals: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{decimals}f}"


def _pair(values: tuple[float, float], decimals: int, form: str = "{} ± {}") -> str:
    return form.format(*(_cell(value, decimals) for value in values))


def _columns(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
