"""KDEF: seventy actors with seven emotions, seen from five angles, twice (Lundqvist et al. 1998)."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

from faceworkbook import faces
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    layout_error,
    list_pictures,
)

INFO = DatasetInfo(
    name="kdef",
    title="KDEF (Karolinska Directed Emotional Faces)",
    labels=("emotion (seven)", "gender", "yaw", "session"),
    columns=("session",),
    identities="70 people, in the file names",
    official_split="none",
    size="4,900 pictures, 562 x 762",
    terms="non-commercial research",
    source="Lundqvist, Flykt and Oehman 1998, The Karolinska Directed Emotional Faces, kdef.se",
    layout="""  ROOT/
    AF01/AF01ANS.JPG    (series A or B, F or M, person, emotion AF AN DI HA NE SA SU, angle FL HL S HR FR)
    ...
  (folders may lie above, and all pictures may lie in one)""",
    put="the folders AF01/ to BM35/ with their pictures",
    sign=r"(?:.*/)?[AB][FM]\d\d(?:AF|AN|DI|HA|NE|SA|SU)(?:FL|HL|S|HR|FR)\.jpe?g",
)

_EMOTIONS = {
    "AF": "fear",
    "AN": "anger",
    "DI": "disgust",
    "HA": "happiness",
    "NE": "neutral",
    "SA": "sadness",
    "SU": "surprise",
}
# Degrees: a left profile shows the face turned towards the image's left.
_YAWS = {"FL": -90.0, "HL": -45.0, "S": 0.0, "HR": 45.0, "FR": 90.0}
_GENDERS = {"F": "female", "M": "male"}
_NAME = re.compile(
    rf"([AB][FM]\d\d)({'|'.join(_EMOTIONS)})({'|'.join(_YAWS)})\.jpe?g", re.ASCII | re.IGNORECASE
)
_AVERAGE = re.compile(rf"[FM](?:{'|'.join(_EMOTIONS)})(?:{'|'.join(_YAWS)})\.jpe?g", re.ASCII | re.IGNORECASE)
_MISNAMED = re.compile(r"([AB][FM]\d\d)[A-Z]{0,3}\.jpe?g", re.ASCII | re.IGNORECASE)


def read(root: Path) -> Dataset:
    """Read person, emotion and angle out of the names of the pictures.

    Parameters
    ----------
    root : Path

    Returns
    -------
    Dataset
        ``identity`` is the actor (``kdef:F01``): the series A and B, in ``session``, show the same people. ``yaw``
        is negative for left profiles, which turn towards the image's left. Two pictures are misnamed as distributed
        (AF31V.JPG, AM31H.JPG): where exactly one of a person's pictures is missing it is that one, and is in
        ``notices``. Averaged faces (AKDEF) are in ``left_out``.

    Raises
    ------
    DatasetError
        No picture with a name of the set.
    """
    left_out, notices = Reasons(), Reasons()
    names, odd = {}, []
    for image in list_pictures(root, left_out):
        match = _NAME.fullmatch(image.rpartition("/")[2])
        if match is None:
            odd.append(image)
        else:
            names[image] = tuple(text.upper() for text in match.groups())
    if not names:
        raise DatasetError(layout_error(root, INFO, "no picture with a name such as AF01ANS.JPG", left_out))
    names |= _repair(odd, set(names.values()), left_out, notices)
    kept = _without_repeats(names, left_out)
    people, emotions, angles = zip(*kept.values(), strict=True)
    table = faces.build(
        {
            "image": list(kept),
            "identity": [f"kdef:{person[1:]}" for person in people],
            "gender": [_GENDERS[person[1]] for person in people],
            "emotion": [_EMOTIONS[code] for code in emotions],
            "yaw": [_YAWS[code] for code in angles],
            "session": [person[0] for person in people],
        },
        dataset="kdef",
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)


def _repair(odd: list[str], there: set[tuple], left_out: Reasons, notices: Reasons) -> dict[str, tuple]:
    repaired = {}
    for image in odd:
        name = image.rpartition("/")[2]
        match = _MISNAMED.fullmatch(name)
        person = match[1].upper() if match else ""
        missing = [view for view in product((person,), _EMOTIONS, _YAWS) if view not in there]
        if _AVERAGE.fullmatch(name):
            left_out.add(image, "averaged face", "a picture of AKDEF, of nobody")
        elif match and len(missing) == 1:
            repaired[image] = missing[0]
            notices.add(
                image, "name repaired", f"read as {''.join(missing[0])}, the one that this person lacks"
            )
        else:
            left_out.add(
                image, "name malformed", "expected AF01ANS.JPG: series, gender, person, emotion, angle"
            )
    return repaired


def _without_repeats(names: dict[str, tuple], left_out: Reasons) -> dict[str, tuple]:
    kept: dict[tuple, str] = {}
    for image in sorted(names):
        if names[image] in kept:
            left_out.add(image, "picture repeated", f"{kept[names[image]]} has the same name")
        else:
            kept[names[image]] = image
    return {image: view for view, image in kept.items()}
