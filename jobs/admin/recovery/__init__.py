"""The Recovery page and the list of sweeps."""
