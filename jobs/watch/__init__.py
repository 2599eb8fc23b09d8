"""What is measured and kept: gauges for alerts, hourly counts and retention."""
