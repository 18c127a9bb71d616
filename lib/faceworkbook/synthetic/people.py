"""Draw people: labels first, then the traits that make a face of them.

A person keeps shape, skin, eyes and hair over several shots; a shot varies expression, pose, light,
background and camera. What is not a label and not a trait of a face (light, background, clothes, camera,
framing) is drawn from a generator of its own that never sees a label.
"""

from __future__ import annotations

import numpy as np

from faceworkbook.synthetic import headmodel
from faceworkbook.synthetic.skin import ramp, srgb_to_linear

GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian")
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
AGE_RANGE = (1, 85)

BODY_RACE = {"White": "caucasian", "Black": "african", "Asian": "asian"}

# Lightest, middle and darkest tone of a group, sRGB 0..255.
TONES = {
    "White": [(243, 213, 194), (228, 187, 163), (198, 150, 122)],
    "Asian": [(242, 212, 180), (224, 184, 147), (190, 145, 108)],
    "Black": [(152, 108, 80), (112, 76, 56), (70, 46, 36)],
}
HAIR = {
    "White": [(28, 20, 16), (58, 40, 28), (92, 64, 42), (140, 104, 66), (192, 158, 108), (122, 62, 34)],
    "Black": [(14, 12, 11), (22, 17, 15), (36, 26, 21)],
    "Asian": [(14, 13, 13), (24, 19, 17), (44, 31, 24)],
}
IRIS = {
    "White": [(88, 60, 38), (112, 90, 52), (96, 118, 92), (104, 136, 160), (70, 92, 120)],
    "Black": [(40, 26, 18), (58, 38, 24)],
    "Asian": [(44, 28, 18), (66, 44, 28)],
}

# Facial actions of each basic expression: the action units of Ekman and Friesen's FACS, by the ARKit names of the
# shape targets. A name that ends in "*" stands for both sides.
EXPRESSIONS = {
    "neutral": {},
    "happiness": {
        "mouthSmile*": 1.0, "cheekSquint*": 0.9, "eyeSquint*": 0.35, "mouthUpperUp*": 0.35,
        "jawOpen": 0.16, "mouthDimple*": 0.3,
    },
    "surprise": {"browInnerUp": 1.0, "browOuterUp*": 1.0, "eyeWide*": 1.0, "jawOpen": 0.6, "mouthFunnel": 0.25},
    "sadness": {
        "browInnerUp": 1.0, "browDown*": 0.25, "mouthFrown*": 1.0, "mouthShrugLower": 0.6,
        "eyeBlink*": 0.28, "mouthLowerDown*": 0.15, "eyeLookDown*": 0.4,
    },
    "anger": {
        "browDown*": 1.0, "eyeSquint*": 0.55, "eyeWide*": 0.35, "noseSneer*": 0.35, "mouthPress*": 0.9,
        "mouthRollUpper": 0.55, "mouthRollLower": 0.5, "mouthFrown*": 0.35, "jawForward": 0.3,
    },
    "disgust": {
        "noseSneer*": 1.0, "mouthUpperUp*": 0.9, "browDown*": 0.5, "eyeSquint*": 0.75, "cheekSquint*": 0.6,
        "mouthFrown*": 0.45, "mouthShrugLower": 0.5, "mouthLowerDown*": 0.2,
    },
    "fear": {
        "browInnerUp": 0.9, "browOuterUp*": 0.55, "browDown*": 0.45, "eyeWide*": 1.0, "mouthStretch*": 1.0,
        "mouthLowerDown*": 0.65, "jawOpen": 0.26,
    },
}  # fmt: skip
# Furrows that an action deepens.
FOLDS = {
    "browInnerUp": {"forehead": 0.5}, "browOuterUp*": {"forehead": 0.5}, "browDown*": {"glabella": 1.0},
    "cheekSquint*": {"crow": 0.7, "lower_lid": 0.6}, "mouthSmile*": {"nasolabial": 0.9, "cheek": 0.12},
    "noseSneer*": {"nose": 1.1, "nasolabial": 0.5}, "mouthFrown*": {"marionette": 0.6},
    "mouthShrugLower": {"chin": 0.8}, "eyeSquint*": {"lower_lid": 0.3},
}  # fmt: skip

# Shape changes of a single face: (folder, name, up, down, spread); "l-" names get their mirror image.
SHAPES = [
    *[("head", f"head-scale-{d}", "incr", "decr", 0.25) for d in ("depth", "horiz", "vert")],
    ("head", "head-angle", "in", "out", 0.15), ("head", "head-fat", "incr", "decr", 0.3),
    *[("forehead", f"forehead-{n}", "incr", "decr", 0.35) for n in ("nubian", "scale-vert", "temple")],
    ("forehead", "forehead-trans", "forward", "backward", 0.3),
    ("eyebrows", "eyebrows-angle", "up", "down", 0.35), ("eyebrows", "eyebrows-trans", "up", "down", 0.3),
    *[("eyes", f"l-eye-height{i}", "incr", "decr", 0.3) for i in (1, 2, 3)],
    ("eyes", "l-eye-scale", "incr", "decr", 0.25), ("eyes", "l-eye-trans", "in", "out", 0.35),
    ("eyes", "l-eye-trans", "up", "down", 0.25), ("eyes", "l-eye-corner1", "up", "down", 0.35),
    ("eyes", "l-eye-corner2", "up", "down", 0.35), ("eyes", "l-eye-eyefold", "up", "down", 0.3),
    ("eyes", "l-eye-epicanthus", "in", "out", 0.2), ("eyes", "l-eye-bag", "incr", "decr", 0.25), ("eyes", "l-eye-push1", "in", "out", 0.2),
    *[("nose", f"nose-{n}", "incr", "decr", 0.4) for n in (
        "flaring", "hump", "nostrils-width", "point-width", "scale-depth", "scale-horiz", "scale-vert",
        "volume", "width1", "width2", "width3", "greek")],
    ("nose", "nose-base", "up", "down", 0.35), ("nose", "nose-point", "up", "down", 0.35),
    ("nose", "nose-curve", "concave", "convex", 0.35), ("nose", "nose-trans", "up", "down", 0.25),
    *[("mouth", f"mouth-{n}", "incr", "decr", 0.4) for n in (
        "cupidsbow", "lowerlip-height", "lowerlip-volume", "philtrum-volume", "scale-horiz", "scale-vert",
        "upperlip-height", "upperlip-volume", "upperlip-width", "lowerlip-width")],
    ("mouth", "mouth-angles", "up", "down", 0.2), ("mouth", "mouth-trans", "up", "down", 0.3),
    *[("chin", f"chin-{n}", "incr", "decr", 0.4) for n in (
        "bones", "cleft", "height", "jaw-drop", "prognathism", "prominent", "width")],
    *[("cheek", f"l-cheek-{n}", "incr", "decr", 0.4) for n in ("bones", "inner", "volume")],
    *[("ears", f"l-ear-{n}", "incr", "decr", 0.4) for n in ("lobe", "scale", "wing", "scale-vert")],
]  # fmt: skip


# Mean changes by gender and by group, beside the body model's own targets.
GENDER_SHAPES = {
    "l-eye-scale": (-0.1, 0.3), "mouth-upperlip-volume": (-0.15, 0.3), "mouth-lowerlip-volume": (-0.15, 0.3),
    "nose-scale-vert": (0.1, -0.15), "nose-scale-horiz": (0.15, -0.25), "nose-width2": (0.15, -0.2),
    "chin-width": (0.35, -0.4), "chin-prominent": (0.3, -0.1), "chin-bones": (0.3, -0.3), "chin-height": (0.25, -0.2),
    "forehead-nubian": (0.25, -0.1), "l-cheek-bones": (-0.1, 0.2), "eyebrows-trans": (-0.25, 0.3),
    "head-fat": (-0.1, 0.0), "mouth-scale-horiz": (0.1, -0.05),
}  # fmt: skip
RACE_SHAPES = {
    "White": {"nose-scale-depth": 0.2, "l-eye-eyefold": 0.1},
    "Black": {"nose-nostrils-width": 0.3, "mouth-lowerlip-volume": 0.3, "mouth-upperlip-volume": 0.3},
    "Asian": {
        "nose-scale-depth": -0.25,
        "l-eye-eyefold": -0.5,
        "l-eye-height2": -0.2,
        "l-eye-epicanthus": 0.8,
    },
}


def draw_person(rng: np.random.Generator, *, gender: str, race: str, age: float) -> dict:
    """Draw the traits of one person of a given gender, race and age (years)."""
    male = gender == "male"
    wear = float(rng.uniform(0.85, 1.15) * (1 if male else 0.88))
    person = {"gender": gender, "race": race, "age": age, "wear": wear}
    person["shape"] = _draw_shape(rng, male=male, race=race, age=age)
    person.update(_draw_colours(rng, male=male, race=race, age=age))
    person.update(_draw_hair(rng, male=male, race=race, age=age))
    person["hair_colour"], person["brow_colour"], person["grey_mix"] = _draw_hair_colour(rng, race, age)
    person["brow"] = _draw_brow(rng, male=male, age=age)
    person["lashes"] = (0.5 if male else 0.8) + 0.6 * person["makeup"] - 0.2 * ramp(age, 50, 85)
    return person


def _draw_shape(rng, *, male, race, age):
    strength = rng.uniform(0.95, 1.25)
    other = rng.dirichlet([1, 1, 1]) * 0.06
    shares = dict(zip(BODY_RACE.values(), other - 0.05, strict=True))
    shares[BODY_RACE[race]] += 1.09
    amounts = headmodel.body_targets(
        male=strength if male else 1 - strength,
        age=age,
        muscle=float(np.clip(rng.normal(0.62 if male else 0.45, 0.12), 0, 1)),
        weight=float(np.clip(rng.normal(0.5, 0.16), 0.1, 1)),
        race=shares,
    )
    for folder, name, up, down, spread in SHAPES:
        usual = GENDER_SHAPES.get(name, (0, 0))[0 if male else 1] * ramp(age, 6, 18) + RACE_SHAPES[race].get(
            name, 0
        )
        amount = float(np.clip(rng.normal(usual, spread * (0.5 + 0.5 * ramp(age, 2, 16))), -1, 1))
        for stem in _sides(name):
            pair = headmodel.find_pair(folder, stem, up, down)
            amounts[pair[0] if amount > 0 else pair[1]] = abs(amount * rng.uniform(0.88, 1.12))
    old = ramp(age, 42, 85)
    amounts["mpfb2/targets/head/head-age-incr.target.gz"] = old * rng.uniform(0.6, 1.0)
    for stem in _sides("l-eye-bag"):
        name = f"mpfb2/targets/eyes/{stem}-incr.target.gz"
        amounts[name] = amounts.get(name, 0) + 0.5 * old
    return amounts


def _sides(name):
    return [name, "r-" + name[2:]] if name.startswith("l-") else [name]


def _draw_colours(rng, *, male, race, age):
    light, middle, dark = (np.array(tone, float) for tone in TONES[race])
    where = rng.beta(2.2, 2.2)
    tone = light + (middle - light) * where * 2 if where < 0.5 else middle + (dark - middle) * (where * 2 - 1)
    makeup = 0.0 if male or age < 15 else float(rng.choice([0, rng.uniform(0.4, 1)], p=[0.25, 0.75]))
    bare = np.array([0.80, 0.52, 0.50]) if race != "Black" else np.array([0.92, 0.62, 0.62])
    bare = bare + (1 - bare) * (0.35 * ramp(age, 45, 85) + (0.15 if male else 0))
    paint = np.array([rng.uniform(0.6, 0.85), rng.uniform(0.12, 0.35), rng.uniform(0.16, 0.38)])
    if race == "Black":
        paint = paint * [1.15, 1.3, 1.3]
    return {
        "tone": (tone * rng.normal(1, 0.015, 3)).tolist(),
        "tone_place": float(where),
        "makeup": makeup,
        "shadow": rng.uniform(0.1, 0.6, 3).tolist(),
        "lips": (bare + (paint - bare) * min(makeup * 1.1, 1)).tolist(),
        "flush": float(rng.uniform(0.4, 1.3) * (1.2 if age < 12 else 1)),
        "freckles": float(rng.random() ** 2 * (race == "White") * (rng.random() < 0.4)),
        "iris": list(IRIS[race][rng.integers(len(IRIS[race]))]),
        "oil": float(rng.uniform(0.5, 1.3)),
    }


def _draw_hair_colour(rng, race, age):
    colours = HAIR[race]
    colour = np.array(colours[rng.integers(len(colours))], float)
    if age < 12:
        colour = colour * 1.12
    onset = rng.normal(49, 5)
    grey = ramp(age, onset - 14, onset + 22) if rng.random() > 0.06 else ramp(age, 60, 95) * 0.4
    white = np.array(rng.choice([[176, 174, 172], [205, 202, 198], [150, 148, 146]]), float)
    mixed = colour + (white - colour) * grey * 0.85
    brow = colour * 0.8 + (white * 0.8 - colour * 0.8) * grey * 0.6
    return srgb_to_linear(mixed).tolist(), srgb_to_linear(brow).tolist(), float(grey)


def _draw_brow(rng, *, male, age):
    young = ramp(age, 2, 14)
    thick = rng.normal(0.095 if male else 0.058, 0.013)
    return {
        "thickness": float(np.clip(thick, 0.035, 0.15) * (0.5 + 0.5 * young)),
        "density": float(np.clip(rng.normal(0.85 if male else 0.6, 0.13), 0.4, 1.4) * (0.35 + 0.65 * young)),
        "length": float(1.1 if male else 0.85) * (1 + 0.3 * ramp(age, 55, 85) * male),
        "arch": float(rng.normal(0.0 if male else 0.02, 0.01)),
        "height": float(rng.normal(-0.02 if male else 0.015, 0.015)),
    }


def _draw_hair(rng, *, male, race, age):
    bald = 0.0
    if male and age > 22:
        bald = float(np.clip(rng.beta(1.2, 1.6) * ramp(age, 22, 68) * 1.35, 0, 1))
    elif not male and age > 55:
        bald = float(rng.uniform(0, 0.18))
    if age < 3:
        bald = float(rng.uniform(0.0, 0.25))
    name = _choose_style(rng, male=male, race=race, age=age)
    style = _style(rng, name)
    return {
        "hair_style": name,
        "hair": style,
        "bald": bald if name != "shaved" else 0.0,
        "hairline": float(rng.uniform(0.0, 0.08) + 0.1 * ramp(age, 30, 80) * male * rng.random()),
        **_draw_beard(rng, male=male, age=age),
    }


STYLE_SHARES = {
    # (male, tight curls): share of each style
    (True, False): {"short": 0.45, "buzz": 0.18, "slick": 0.17, "medium": 0.14, "shaved": 0.04, "bob": 0.02},
    (True, True): {"crop": 0.62, "buzz": 0.16, "afro": 0.12, "shaved": 0.08, "curly": 0.02},
    (False, False): {"bob": 0.38, "long": 0.36, "tied": 0.08, "curly": 0.13, "medium": 0.04, "short": 0.01},
    (False, True): {"afro": 0.12, "curly": 0.32, "tied": 0.10, "bob": 0.24, "long": 0.20, "crop": 0.02},
}


def _choose_style(rng, *, male, race, age):
    shares = dict(STYLE_SHARES[male, race == "Black"])
    if age < 3:
        shares = {"buzz": 0.3, "short": 0.7} if male else {"short": 0.3, "medium": 0.4, "tied": 0.3}
        if race == "Black":
            shares = {"crop": 0.9, "buzz": 0.1} if male else {"crop": 0.25, "tied": 0.4, "afro": 0.35}
    if age > 60 and not male:
        shares = {**shares, "short": 0.05, "curly": 0.4, "long": 0.12}
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))


BASE_STYLE = {
    "count": 9000, "points": 10, "length": 0.4, "sides": 0.5, "fringe": 0.35, "parting": 0.0, "lift": 0.6,
    "flow": {"side": 0.3, "up": 0.0, "front": 0.2, "fringe_side": 0.5, "fringe_front": 0.3},
    "clump": 0.12, "messy": 0.1, "curl": 0.0, "curl_rate": 0.9, "gravity": 0.15, "hold": 0.15,
    "clear": 0.03, "floor": 6.2, "reach": 1.1, "face_open": 0.6, "width": 0.013, "shine": 0.16,
}  # fmt: skip


def _style(rng, name):
    parting = float(rng.choice([-0.25, 0.0, 0.25]))
    changes = {
        "shaved": {"count": 5000, "points": 3, "length": 0.02, "fringe": 0.02, "lift": 1, "clear": 0.0, "width": 0.01},
        "buzz": {"count": 12000, "points": 3, "length": 0.06, "fringe": 0.06, "lift": 1.0, "clear": 0.0},
        "crop": {"count": 14000, "points": 6, "length": rng.uniform(0.08, 0.2), "fringe": rng.uniform(0.08, 0.18),
                 "lift": 1.0, "curl": 0.9, "curl_rate": 2.2, "messy": 0.4, "clear": 0.01, "shine": 0.06},
        "short": {"length": rng.uniform(0.3, 0.6), "sides": 0.3, "fringe": rng.uniform(0.25, 0.55), "parting": parting,
                  "flow": {"side": 0.5, "up": 0.1, "front": 0.3, "fringe_side": rng.uniform(0.2, 1.2),
                           "fringe_front": rng.uniform(-0.3, 0.7)}, "lift": rng.uniform(0.6, 1.1)},
        "slick": {"length": rng.uniform(0.5, 0.9), "sides": 0.35, "fringe": 0.8, "parting": parting, "lift": 0.8,
                  "flow": {"side": 0.2, "up": 0.1, "front": -0.9, "fringe_side": 0.3, "fringe_front": -0.9},
                  "hold": 0.5, "gravity": 0.05, "shine": 0.24},
        "medium": {"count": 10000, "length": rng.uniform(0.7, 1.1), "sides": 0.8, "fringe": rng.uniform(0.4, 0.75),
                   "parting": parting, "gravity": 0.4, "lift": 0.6, "curl": rng.uniform(0, 0.4),
                   "flow": {"side": 0.7, "up": 0.0, "front": 0.1, "fringe_side": 0.7, "fringe_front": 0.2}},
        "bob": {"count": 11000, "points": 14, "length": rng.uniform(1.3, 1.75), "sides": 0.95,
                "fringe": rng.choice([0.42, 1.4]), "parting": parting, "gravity": 0.9, "lift": 0.45,
                "flow": {"side": 1.0, "up": 0.0, "front": -0.05, "fringe_side": 1.8, "fringe_front": 0.05},
                "clear": 0.06, "curl": rng.uniform(0, 0.25), "hold": 0.0},
        "long": {"count": 12000, "points": 18, "length": rng.uniform(1.9, 2.4), "sides": 0.95,
                 "fringe": rng.choice([0.42, 1.7, 1.7]), "parting": parting, "gravity": 0.9, "lift": 0.45,
                 "flow": {"side": 1.0, "up": 0.0, "front": -0.1, "fringe_side": 1.8, "fringe_front": 0.0},
                 "clear": 0.06, "curl": rng.uniform(0, 0.3), "hold": 0.0},
        "tied": {"count": 11000, "points": 12, "length": 0.75, "sides": 1.0, "fringe": rng.choice([0.75, 0.75, 0.42]),
                 "parting": parting, "lift": 0.35, "gravity": 0.0, "hold": 0.6, "clear": 0.03, "messy": 0.05,
                 "flow": {"side": 0.1, "up": 0.15, "front": -1.0, "fringe_side": 0.2, "fringe_front": -1.0},
                 "shine": 0.24},
        "curly": {"count": 11000, "points": 22, "length": rng.uniform(1.0, 1.7), "sides": 0.95,
                  "fringe": rng.uniform(0.5, 0.9), "parting": parting, "gravity": 0.3, "lift": 0.8, "curl": 1.1,
                  "curl_rate": rng.uniform(0.9, 1.4), "clear": 0.07, "messy": 0.25, "shine": 0.1,
                  "flow": {"side": 0.8, "up": 0.1, "front": 0.0, "fringe_side": 0.9, "fringe_front": 0.1}},
        "afro": {"count": 14000, "points": 14, "length": rng.uniform(0.3, 0.5), "sides": 0.9,
                 "fringe": rng.uniform(0.3, 0.5), "lift": 1.0, "gravity": 0.0, "curl": 1.1, "curl_rate": 2.0,
                 "messy": 0.3, "clump": 0.25, "hold": 0.1, "shine": 0.05,
                 "flow": {"side": 0.2, "up": 0.2, "front": 0.0, "fringe_side": 0.2, "fringe_front": 0.1}},
    }[name]  # fmt: skip
    return {**BASE_STYLE, **changes}


def _draw_beard(rng, *, male, age):
    grown = ramp(age, 14, 22) if male else 0.0
    kind = str(rng.choice(["none", "stubble", "moustache", "goatee", "full"], p=[0.42, 0.2, 0.1, 0.12, 0.16]))
    areas = {
        "moustache": {"moustache": 1.0},
        "goatee": {"moustache": 0.9, "chin": 1.0, "corner": 0.8},
        "full": {"moustache": 0.9, "chin": 1.0, "corner": 1.0, "jaw": 1.0},
    }.get(kind, {})
    shade = rng.uniform(0.05, 0.16) if kind != "stubble" else rng.uniform(0.25, 0.45)
    return {
        "beard_style": kind if grown > 0.5 else "none",
        "beard": {name: amount * grown for name, amount in areas.items()} if grown > 0.5 else {},
        "beard_length": float(rng.uniform(0.06, 0.16)),
        "stubble": float(shade * grown),
    }


def draw_expression(rng: np.random.Generator, emotion: str) -> dict:
    """Draw an expression: amounts of facial actions, furrows that they deepen, and the intensity (0..1)."""
    intensity = float(rng.uniform(0.7, 1.05)) if emotion != "neutral" else 0.0
    actions, folds = {}, {}
    for name, amount in EXPRESSIONS[emotion].items():
        level = intensity * amount * rng.uniform(0.75, 1.1)
        for target in _both(name):
            actions[target] = float(np.clip(level * rng.uniform(0.9, 1.1), 0, 1.1))
        for fold, depth in FOLDS.get(name, {}).items():
            folds[fold] = folds.get(fold, 0.0) + depth * level
    for name in ("browInnerUp", "browDown*", "mouthSmile*", "mouthFrown*", "jawOpen", "mouthPress*"):
        small = float(abs(rng.normal(0, 0.035)))
        for target in _both(name):
            actions[target] = actions.get(target, 0.0) + small
    return {"emotion": emotion, "intensity": intensity, "actions": actions, "folds": folds}


def _both(name):
    return [name[:-1] + "Left", name[:-1] + "Right"] if name.endswith("*") else [name]


def draw_pose(rng: np.random.Generator) -> dict[str, float]:
    """Draw yaw, pitch and roll of the head in degrees, in the project's convention."""
    yaw = rng.normal(0, 22) if rng.random() < 0.8 else rng.uniform(-50, 50)
    pitch, roll = rng.normal(0, 9), rng.normal(0, 8)
    limits = {"yaw": (yaw, 50), "pitch": (pitch, 25), "roll": (roll, 25)}
    return {name: float(np.clip(value, -limit, limit)) for name, (value, limit) in limits.items()}


def draw_scene(rng: np.random.Generator) -> dict[str, float]:
    """Draw light, background, clothes, camera and framing of a shot; no label goes in."""
    cloth, back, back2 = rng.uniform(0, 1, (3, 3))
    scene = {
        "key_azimuth": rng.uniform(-75, 75),
        "key_height": rng.uniform(0, 65),
        "key_strength": rng.uniform(0.5, 1.7),
        "key_warmth": rng.normal(0, 0.05),
        "fill_strength": rng.uniform(0.35, 0.9),
        "sky_warmth": rng.normal(0, 0.05),
        "ground": rng.uniform(0.25, 0.8),
        "exposure": rng.normal(0, 0.12),
        "contrast": rng.uniform(0.92, 1.15),
        "saturation": rng.uniform(0.8, 1.1),
        "distance": rng.uniform(7, 16),
        "scale": rng.uniform(0.95, 1.05),
        "shift_x": rng.normal(0, 1.3),
        "shift_y": rng.normal(0, 1.3),
        "blur": rng.uniform(0.35, 0.8),
        "noise": rng.uniform(0.003, 0.012),
        "quality": int(rng.integers(82, 93)),
        "shoulders": rng.uniform(0.88, 1.14),
        "collar": rng.uniform(5.86, 6.0),
        "gaze_x": rng.normal(0, 6),
        "gaze_y": rng.normal(0, 4),
        "body_turn": rng.normal(0, 14),
        "background_seed": int(rng.integers(2**31)),
    }
    cloth, back, back2 = (colour.mean() + (colour - colour.mean()) * 0.45 for colour in (cloth, back, back2))
    for i, channel in enumerate("rgb"):
        scene[f"cloth_{channel}"] = cloth[i] ** 1.5 * 0.7 + 0.02
        scene[f"back_{channel}"] = back[i] ** 1.2 * 0.8 + 0.03
        scene[f"back2_{channel}"] = back2[i] ** 1.2 * 0.8 + 0.03
    return {name: value if isinstance(value, int) else float(value) for name, value in scene.items()}
