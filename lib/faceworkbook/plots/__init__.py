"""Figures as Display objects: they hold their data, draw into an ``ax``, and return themselves."""
