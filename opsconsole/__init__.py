"""The console itself: settings, site, pages, probes. What it watches over lives in jobs and ratelimits."""
