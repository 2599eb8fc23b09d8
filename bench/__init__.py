"""Benchmarks, one module per make target."""

import sys

from bench import failures

# Tests import benchmarks, and their process is no benchmark.
if "pytest" not in sys.modules:
    failures.watch()
