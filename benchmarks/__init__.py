"""Measurements of speed, memory and coverage; run by hand, never by the tests."""
