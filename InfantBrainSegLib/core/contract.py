"""What programs outside the library rely on: exit codes, names of result files, of weights files, columns of the
batch's table, steps of the progress.
"""

EXIT_OK = 0
EXIT_USER_ERROR = 2  # one line on stderr says what the user can mend
EXIT_SOME_FAILED = 3  # of a batch: the rest is done, and the table says why
EXIT_STOPPED = 130

SEGMENTATION_STEM = "segmentation"
SEGMENTATION = f"{SEGMENTATION_STEM}.nii.gz"
MASK = "brain_mask.nii.gz"
VOLUMES = "volumes.csv"
REPORT = "report.json"
OVERVIEW = "overview.png"
HTML_REPORT = "report.html"  # only where it was asked for
TRANSFORM = "t2_to_t1.tfm"  # only where T2 was moved
COHORT = "cohort.csv"
COHORT_PAGE = "cohort.html"
REVIEW = "cohort_review.json"  # what people decided on the page

STAGES = ("fcn1", "fcn2")  # of tissue segmentation; the second one sees distance maps of the first one's labels
EXTRACTION_STAGES = ("locate", "refine")
MANIFEST = "manifest.json"  # of a weights folder

SCAN_COLUMN, STATUS_COLUMN, REASON_COLUMN = "scan", "status", "reason"  # of the batch's table
OK, FAILED, PENDING = "ok", "failed", "pending"  # in its column of the status


def probability_file(short_name: str) -> str:
    """Name the probability map of a tissue."""
    return f"probability_{short_name.lower()}.nii.gz"


def weights_file(stage: str) -> str:
    """Name the weights file of a stage."""
    return f"{stage}.pt"


class Step:
    """Names of a run's steps."""

    READ = "read"
    LOAD = "load"
    ALIGN = "align"
    EXTRACT = "extract"
    PREPARE = "prepare"
    STAGE_1 = "stage 1"
    CONTEXT = "context"
    STAGE_2 = "stage 2"
    CONTEXT_ROUND_2 = "context, round 2"
    STAGE_2_ROUND_2 = "stage 2, round 2"
    CONTEXT_ROUND_3 = "context, round 3"
    STAGE_2_ROUND_3 = "stage 2, round 3"
    REFINE = "refine"
    CLEAN_UP = "clean up"
    RESTORE = "restore"
    WRITE = "write"
    DONE = "done"


# Share of a whole run at which each step ends, for the progress bar; measured on a CPU, where both networks take most of the time.
STEP_ENDS = {
    Step.READ: 0.01,
    Step.LOAD: 0.03,
    Step.ALIGN: 0.08,
    Step.EXTRACT: 0.28,
    Step.PREPARE: 0.36,
    Step.STAGE_1: 0.44,
    Step.CONTEXT: 0.46,
    Step.STAGE_2: 0.68,
    Step.CONTEXT_ROUND_2: 0.70,
    Step.STAGE_2_ROUND_2: 0.90,
    Step.CONTEXT_ROUND_3: 0.91,
    Step.STAGE_2_ROUND_3: 0.93,  # runs only where it is asked for
    Step.CLEAN_UP: 0.95,
    Step.REFINE: 0.97,  # of edited labels
    Step.RESTORE: 0.98,
    Step.WRITE: 1.0,
}
ROUNDS = (  # steps of the second stage, each time that it runs
    (Step.CONTEXT, Step.STAGE_2),
    (Step.CONTEXT_ROUND_2, Step.STAGE_2_ROUND_2),
    (Step.CONTEXT_ROUND_3, Step.STAGE_2_ROUND_3),
)
