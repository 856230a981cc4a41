"""A job array for Slurm: each task does its share of the scans, and one job after them writes the table."""

import math
import shlex
from collections.abc import Sequence

MOST_TASKS = 1000  # Slurm's own limit of an array's size is 1001 where nobody raised it
CPUS, MEMORY_GB, GPU_CPUS = 2, 4, 4
MINUTES_A_SCAN, START_MINUTES = 15, 15  # three times what a whole head takes on two slow cores


def array_script(scans: int, segment: Sequence[str], group: Sequence[str], gpu: bool) -> str:
    """Write the script.

    Parameters
    ----------
    scans : int
        How many there are.
    segment, group : sequence of str
        The commands that segment, to which the part is added, and that write the table.
    gpu : bool
        Whether each task needs one.
    """
    tasks = min(scans, MOST_TASKS)
    minutes = START_MINUTES + MINUTES_A_SCAN * math.ceil(scans / tasks)
    wanted = ["--gres=gpu:1", f"--cpus-per-task={GPU_CPUS}"] if gpu else [f"--cpus-per-task={CPUS}"]
    options = [
        "--job-name=infantbrainseg",
        f"--array=1-{tasks}",
        *wanted,
        f"--mem={MEMORY_GB}G",
        f"--time={minutes // 60:02d}:{minutes % 60:02d}:00",
        "--requeue",
        "--open-mode=append",
        "--signal=B:TERM@60",
    ]
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in options),
        f"# {scans} scans in {tasks} tasks; one that is killed may be queued again, what is finished is not done twice.",
        "# Give it to sbatch from a folder that all nodes see, and have the table written when all tasks have ended:",
        "#   job=$(sbatch --parsable SCRIPT)",
        f"#   sbatch --dependency=afterany:$job --wrap {shlex.quote(shlex.join(group))}",
        'export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"',
        f'exec {shlex.join(segment)} --part "$SLURM_ARRAY_TASK_ID/{tasks}"',
    ]
    return "\n".join(lines) + "\n"
