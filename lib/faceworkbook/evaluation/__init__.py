"""Predictions in, tables of figures with intervals out."""
