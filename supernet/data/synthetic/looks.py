"""How rendered people look: colours, clothes and how stout they are.

Colours are RGB, 0 to 255.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

THIGH, SHANK, UPPER_ARM, FOREARM = range(4)
"""Places of the limbs' bones in a look's tuples."""


@dataclass(frozen=True, slots=True)
class Fabric:
    """A pattern on clothes.

    Attributes:
        kind: Which pattern.
        period: After how much of the stature it repeats.
        degrees: Turn of the pattern.
        accent: Second colour of the torso, or None for a change of brightness alone.
    """

    kind: int
    period: float
    degrees: float
    accent: Colour | None


@dataclass(frozen=True, slots=True)
class Look:
    """Looks of one person.

    Attributes:
        skin: Colour of face and throat.
        hair: Colour of the hair.
        upper: Colour of the torso.
        bones: Colours of thigh, shank, upper arm and forearm.
        build: How stout the torso is (1 is the mean).
        widths: How stout the bones are, in the order of their colours.
        shoes: Colour of the feet, or None for neither feet nor hands.
        long_hair: Whether the hair falls on the shoulders.
        cap: Colour of a cap, or None.
        shirt: Pattern of the torso and of what is of its colour.
        trousers: Pattern of the thighs and of what is of their colour.
    """

    skin: Colour
    hair: Colour
    upper: Colour
    bones: tuple[Colour, Colour, Colour, Colour]
    build: float
    widths: tuple[float, float, float, float]
    shoes: Colour | None = None
    long_hair: bool = False
    cap: Colour | None = None
    shirt: Fabric | None = None
    trousers: Fabric | None = None


def plain_look(rng: np.random.Generator) -> Look:
    """Draw colours and build of a person."""
    tone, dark = rng.uniform(0.25, 1.0), rng.uniform(0.1, 0.9)
    skin = (80 + 165 * tone, 50 + 145 * tone, 35 + 125 * tone)
    upper, lower = vivid(rng), vivid(rng)
    build = rng.uniform(0.85, 1.2)
    bones = (lower, lower, upper, skin)
    return Look(skin, (150 * dark, 110 * dark, 70 * dark), upper, bones, build, (build, build, build, build))


def varied_look(rng: np.random.Generator) -> Look:
    """Draw skin, hair, clothes with patterns, shoes and the width of every part."""
    skin = skin_colour(rng)
    upper, lower = cloth_colour(rng), cloth_colour(rng)
    bones = (lower, lower if rng.random() < 0.7 else skin, upper, upper if rng.random() < 0.5 else skin)
    build, leg, arm = rng.uniform(0.8, 1.5), rng.uniform(0.75, 1.3), rng.uniform(0.75, 1.3)
    return Look(
        skin=skin,
        hair=_hair(rng),
        upper=upper,
        bones=bones,
        build=build,
        widths=(leg, leg * rng.uniform(0.8, 1.1), arm, arm * rng.uniform(0.8, 1.1)),
        shoes=cloth_colour(rng),
        long_hair=rng.random() < 0.35,
        cap=cloth_colour(rng) if rng.random() < 0.15 else None,
        shirt=_fabric(rng),
        trousers=_fabric(rng),
    )


def vivid(rng: np.random.Generator) -> Colour:
    """Draw any colour but the darkest and the lightest."""
    red, green, blue = rng.uniform(30, 225, 3).tolist()
    return red, green, blue


def cloth_colour(rng: np.random.Generator) -> Colour:
    """Draw any colour; half of them are greyish, as clothes are."""
    red, green, blue = vivid(rng)
    grey, keep = (red + green + blue) / 3, 0.25 if rng.random() < 0.5 else 1.0
    return grey + keep * (red - grey), grey + keep * (green - grey), grey + keep * (blue - grey)


def skin_colour(rng: np.random.Generator) -> Colour:
    """Draw a colour of skin from dark to light."""
    tone, warmth = rng.uniform(0.1, 1.0), rng.uniform(0.85, 1.1)
    return 70 + 175 * tone, (45 + 150 * tone) * warmth, (30 + 135 * tone) * warmth


def _hair(rng: np.random.Generator) -> Colour:
    dark = rng.uniform(0.08, 1.2)
    return 160 * dark, rng.uniform(100, 140) * dark, rng.uniform(50, 100) * dark


def _fabric(rng: np.random.Generator) -> Fabric:
    accent = cloth_colour(rng) if rng.random() < 0.4 else None
    return Fabric(int(rng.integers(64)), rng.uniform(0.06, 0.4), rng.uniform(0, 180), accent)
