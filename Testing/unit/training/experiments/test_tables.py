import json
import math

import pytest

from InfantBrainSegLib.evaluation.metrics import TissueMetrics
from InfantBrainSegLib.training.experiments.tables import PAPER_SUBJECTS, PAPER_WITH_CONTEXT, ROWS, summary, table1, table2, tables_report


def cohort(doc, asd=0.3, mhd=7.0):
    one = {tissue: TissueMetrics(doc, asd, mhd, 1.0, 0.5, 1.0) for tissue in ("CSF", "GM", "WM")}
    two = {**one, "WM": TissueMetrics(doc + 0.02, math.nan, math.nan, math.nan, math.nan, 0.0, "absent from the prediction")}
    return {"subject-3": one, "subject-11": two}


@pytest.mark.parametrize("tissue", PAPER_SUBJECTS)
@pytest.mark.parametrize(("row", "decimals"), [(row, decimals) for row, _, decimals in ROWS])
def test_the_papers_figures_agree_with_its_own_means_and_sample_sds(tissue, row, decimals):
    wanted = PAPER_WITH_CONTEXT[tissue][row]
    last_digit = 10**-decimals
    assert len(PAPER_SUBJECTS[tissue][row]) == 13
    assert summary(PAPER_SUBJECTS[tissue][row]) == pytest.approx(wanted, abs=2.6 * last_digit if row == "ASD" else 1.1 * last_digit)


def test_table_1_has_a_column_a_subject_and_the_papers_table_below():
    lines = table1(cohort(0.9)).splitlines()
    assert lines[1].split() == ["#3", "#11", "Mean(std)"]
    assert lines[2].split() == ["CSF"]
    assert lines[3].split() == ["DOC", "0.900", "0.900", "0.900(0.000)"]
    assert lines[11].split() == ["DOC", "0.900", "0.920", "0.910(0.014)"]
    assert lines[12].split() == ["ASD", "0.300", "-", "0.300(-)"]
    paper = lines[lines.index("The paper's Table 1, 13 test subjects of iSeg-2017") :]
    assert paper[5].split()[-1] == "9.62(1.35)"
    assert paper[5].split()[1:4] == ["7.28", "9.00", "11.23"]


def test_table_2_sets_each_figure_beside_the_papers():
    lines = table2(cohort(0.9), cohort(0.8)).splitlines()
    csf, without = lines[2], lines[5]
    assert csf.startswith("Adding context information")
    assert csf.split()[4:7] == ["0.900", "±", "0.000"]
    assert csf.endswith("0.954 ± 0.007  0.127 ± 0.015  9.62 ± 1.35")
    assert without.startswith("Without context information")
    assert without.split()[4] == "0.800"
    assert lines[7].endswith("0.888 ± 0.012  0.433 ± 0.050  7.12 ± 1.31")


def test_the_report_has_null_where_a_distance_does_not_exist():
    report = json.loads(json.dumps(tables_report(cohort(0.9), cohort(0.8)), allow_nan=False))
    assert report["ours"]["with_context"]["subjects"]["subject-11"]["WM"]["hausdorff_mm"] is None
    assert report["ours"]["without_context"]["mean_sd"]["WM"]["DOC"]["mean"] == pytest.approx(0.81)
    assert report["paper"]["without_context_mean_sd"]["CSF"]["MHD"] == [8.94, 0.98]
