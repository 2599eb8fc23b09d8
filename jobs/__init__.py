"""Jobs, their runs, the workers that run them, and how a run whose worker died is started again."""
