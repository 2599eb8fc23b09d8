"""Runs of jobs, as workers report about them: statements, and what their answers mean."""
