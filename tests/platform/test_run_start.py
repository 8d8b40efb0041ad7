"""A run's process begins with less priority than the platform's own."""

import os
import subprocess
import sys

from captionacc_dagster.platform import run_start


def test_a_run_yields_to_the_processes_of_the_platform():
    imported = "import os; from captionacc_dagster.platform.run_start import begin_run"
    script = f"{imported}; begin_run(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(19, os.nice(0) + run_start.RUN_NICENESS)
