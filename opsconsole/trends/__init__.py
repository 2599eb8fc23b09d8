"""Trends: how long runs waited and ran and how they ended, from rollups of the timelines, over hours and weeks."""
