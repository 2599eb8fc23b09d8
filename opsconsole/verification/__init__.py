"""The verification of an installation: one list of checks, each with a question, an answer and what to do.

A check asks whoever owns the answer: system checks, the inspection of the database, monitors, seals, the adapters.
"""
