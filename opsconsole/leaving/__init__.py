"""Leaving a database: what the console added to it is found, exported where asked, and taken away."""
