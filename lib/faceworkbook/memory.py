"""Memory that is used up: what libraries raise then, each in its own words."""

from __future__ import annotations

import re

USED_UP = "the memory is used up"
ADVICE = (
    "end other programs, or take fewer faces, smaller pictures, narrower layers or a smaller batch, and run again: "
    "what is finished is kept"
)
_WORDS = re.compile(
    r"memoryerror|bad_alloc|insufficient memory|allocate memory|(failed|unable) to allocate|out of memory|oom when|"
    r"resourceexhausted|can't start new thread|launch worker thread|failed to map segment",
    re.IGNORECASE,
)
# What TensorFlow says of its own insides beside the tensor that was asked for.
_INSIDES = re.compile(r"\{\{[^}]*\}\}\s*| on /job:.*", re.DOTALL)


def describe(error: str) -> str:
    """Return in a sentence that memory is used up, by what, and what to take less of."""
    return f"{_INSIDES.sub('', error).strip()}; {USED_UP}: {ADVICE}"


def is_exhausted(error: BaseException | str) -> bool:
    """Whether an error, or what it came from, is that memory, or a thread's share of it, was not granted."""
    if isinstance(error, str):
        return bool(_WORDS.search(error))
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return any(isinstance(e, MemoryError) or _WORDS.search(f"{type(e).__name__}: {e}") for e in causes)
