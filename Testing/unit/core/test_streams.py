import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from InfantBrainSegLib.core.streams import Tolerant

ROOT = Path(__file__).parents[3]
posix = pytest.mark.skipif(sys.platform == "win32", reason="a shell and /dev/full")
PROGRAM = """
import sys
from InfantBrainSegLib.core.streams import tolerant_streams
with tolerant_streams():
    for _ in range(3000):
        print("Größe 1×1 mm \\udcff")
        print("Größe 1×1 mm \\udcff", file=sys.stderr)
    with open(sys.argv[1], "w") as file:
        file.write("result")
        file.flush()
        print("late"), print("late", file=sys.stderr)
sys.exit(5)
"""


@posix
@pytest.mark.parametrize(
    "how",
    [">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", ">/dev/full 2>/dev/full", "| true; exit ${PIPESTATUS[0]}", "2>&1 | head -n 1; exit 5"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_result_decides_the_exit_code_whatever_the_streams_take(tmp_path, how, encoding):
    command = f'"{sys.executable}" -c "$PROGRAM" "{tmp_path}/result" {how}'
    environment = {**os.environ, "PROGRAM": PROGRAM, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, check=False)
    assert done.returncode == 5
    assert (tmp_path / "result").read_text() == "result"
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_letter_that_the_stream_can_not_hold_is_escaped():
    kept = io.BytesIO()
    stream = Tolerant(io.TextIOWrapper(kept, encoding="ascii"))
    stream.write("1×1")
    stream.flush()
    assert kept.getvalue() == b"1\\xd71"
