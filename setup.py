"""Puts the sample of the Slicer module into the wheel, as `InfantBrainSegLib/sample`; all else is in `pyproject.toml`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SAMPLE = Path("InfantBrainSeg/Resources/SampleData")


class BuildWithSample(build_py):
    """Builds the library, and copies the sample into it."""

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            shutil.copytree(SAMPLE, Path(self.build_lib) / "InfantBrainSegLib" / "sample", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithSample})
