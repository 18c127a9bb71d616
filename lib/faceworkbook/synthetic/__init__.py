"""Rendered faces whose labels are known because they were chosen, and faults planted on purpose.

`planting` works on any face table.  The generator needs the extra `[synthetic]`; it is imported only when
a face is rendered.
"""
