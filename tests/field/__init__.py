"""Tests of the console as processes behind a real HTTP client: failures at the boundaries of its parts."""
