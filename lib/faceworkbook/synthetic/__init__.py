"""Rendered faces whose labels are known because they were chosen.

The renderer needs the extra ``[synthetic]``; it is imported only when a face is rendered.
"""
