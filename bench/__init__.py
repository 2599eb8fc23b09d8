"""Benchmarks, one module per make target."""

from bench import failures

failures.watch()
