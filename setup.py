"""What pyproject.toml cannot say: a wheel carries copies of `configs/` and `benchmarks/`.

Both stay at the top of the repository. An editable installation uses them there.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FOLDERS = ("configs", "benchmarks")
LEFT_OUT = ("local", "__pycache__", "*.pyc")  # configs/local is the user's


class BuildWithConfigs(build_py):
    """Copies the folders into the package that is built."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for name in FOLDERS:
            target = Path(self.build_lib, "rlm_eval", name)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns(*LEFT_OUT))


setup(cmdclass={"build_py": BuildWithConfigs})
