"""Restores and failovers: how the console notices one, fences all earlier runs, and lists what may be done already."""
