"""Tests of the packages in ``clients/`` against the real server."""
