"""What other programs rely on, written out: a change here is one for everybody outside."""

from InfantBrainSegLib.batch.cohort import COLUMNS
from InfantBrainSegLib.core import contract
from InfantBrainSegLib.core.contract import ROUNDS, STEP_ENDS, Step


def test_names_and_exit_codes_are_those_that_were_promised():
    files = (contract.SEGMENTATION, contract.MASK, contract.VOLUMES, contract.REPORT, contract.OVERVIEW, contract.TRANSFORM)
    wanted = ("segmentation.nii.gz", "brain_mask.nii.gz", "volumes.csv", "report.json", "overview.png", "t2_to_t1.tfm")
    assert (*files, contract.probability_file("GM"), contract.COHORT) == (*wanted, "probability_gm.nii.gz", "cohort.csv")
    assert contract.HTML_REPORT == "report.html"
    codes = (contract.EXIT_OK, contract.EXIT_USER_ERROR, contract.EXIT_SOME_FAILED, contract.EXIT_STOPPED)
    assert codes == (0, 2, 3, 130)


def test_the_table_of_a_batch_has_the_columns_that_it_is_read_by():
    columns = (contract.SCAN_COLUMN, contract.STATUS_COLUMN, contract.REASON_COLUMN)
    assert (columns, (contract.OK, contract.FAILED, contract.PENDING)) == (("scan", "status", "reason"), ("ok", "failed", "pending"))
    assert set(columns) < set(COLUMNS)


def test_every_step_has_its_share_and_the_shares_rise_to_the_whole():
    names = {name for key, name in vars(Step).items() if key.isupper()}
    shares = list(STEP_ENDS.values())
    assert set(STEP_ENDS) == names - {Step.DONE}
    assert (shares, shares[-1]) == (sorted(set(shares)), 1.0)
    assert {step for both in ROUNDS for step in both} < names
