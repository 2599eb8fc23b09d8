"""The ops console: its settings, site, pages and probes. What it watches over lives in jobs, alerts and ratelimits."""
