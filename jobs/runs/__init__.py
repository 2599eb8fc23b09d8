"""The life of one run: claims, heartbeats, results, its timeline and the diagnosis of what is wrong."""
