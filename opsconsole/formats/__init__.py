"""Formats of dates and numbers, in the layout that Django's FORMAT_MODULE_PATH asks for."""
