"""Everything of InfantBrainSeg that knows 3D Slicer; the method itself is in InfantBrainSegLib.

Three rooms: `scene` (MRML), `run` (the child process), `panel` (what the user sees); a room calls those before it. `logic` and
`selftest` stand above `scene` and `run`. Of the library it imports `core`, `imaging`, `preparation`, `checks` and `pipeline.options`, for
the report `pipeline.volumes`, `outputs.html_report` and `outputs.overview`, none of which needs torch, and `evaluation` in the self-test;
the networks run in the child alone.
"""
