"""One image of rendered people with its labels: who stands where, who hides whom.

Legend: N people, K keypoints, H/W image. Places are in image pixels, pixel i covering [i, i + 1).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.data.synthetic.annotated import AnnotatedLayouts
from litepose_ofa.supernet.data.synthetic.backgrounds import draw_background
from litepose_ofa.supernet.data.synthetic.crowding import Crowding
from litepose_ofa.supernet.data.synthetic.drawing import add_grain, draw_person
from litepose_ofa.supernet.data.synthetic.figures import Person, Pixels
from litepose_ofa.supernet.data.synthetic.labels import (
    Floats,
    Owners,
    find_owners,
    label_people,
)
from litepose_ofa.supernet.data.synthetic.placement import Placer, crowd_in_the_distance
from litepose_ofa.supernet.data.synthetic.poses import Flags, Kinematics, PoseSource
from litepose_ofa.supernet.data.synthetic.settings import PeopleSettings
from litepose_ofa.supernet.data.synthetic.shapes import Figure

CROWD_SIZE = (6, 14)
"""Least and most people of an unlabelled crowd."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One rendered image.

    Attributes:
        image: RGB, shape (H, W, 3).
        keypoints: Shape (N, K, 3): x, y and visibility (0 not labelled, 1 hidden, 2 visible).
        boxes: Box of each whole person inside the image, hidden parts too, shape (N, 4): x, y, width, height.
        areas: Visible area of each person in square pixels, shape (N,).
        crowd: Where people are that are not labelled, shape (H, W), or None.
        source_id: The annotated image whose people these are, or None.
    """

    image: Pixels
    keypoints: Floats
    boxes: Floats
    areas: Floats
    crowd: Flags | None = None
    source_id: int | None = None


def render_scene(
    rng: np.random.Generator, settings: PeopleSettings, skeleton: Skeleton, poses: PoseSource | AnnotatedLayouts
) -> Scene:
    """Render people in front of a background; smaller people stand farther back.

    Args:
        rng: Source of randomness.
        settings: What the image shows.
        skeleton: The keypoints to label.
        poses: Where poses come from; ``AnnotatedLayouts`` put people where they are annotated.
    """
    size = settings.image_size
    canvas = draw_background(rng, *size, clutter=settings.clutter)
    source_id = None
    if isinstance(poses, AnnotatedLayouts):
        placer = Placer(settings, kinematics(settings))
        annotated = poses.sample(rng)
        source_id = annotated.id
        people = [Person.in_image(Figure(*placed, placer.look(rng)), size) for placed in annotated.place(rng, size)]
    else:
        placer = Placer(settings, poses)
        people = _random_people(rng, placer, skeleton)
    people.sort(key=lambda person: person.figure.stature)
    owners = find_owners(people, size)
    crowd = None
    if settings.crowd_regions and rng.random() < settings.crowd_regions:
        crowd = _draw_crowd(canvas, rng, placer, owners)
    for person in people:
        draw_person(canvas, person)
    labels = label_people(people, owners, skeleton, self_occlusion=settings.self_occlusion)
    image = add_grain(canvas, rng, settings.grain)
    return Scene(image, labels.keypoints, labels.boxes, labels.areas, crowd, source_id)


def kinematics(settings: PeopleSettings) -> Kinematics:
    """Return the kinematics that the settings ask for."""
    return Kinematics(settings.lean_degrees, settings.yaw_degrees, settings.from_behind)


def _random_people(rng: np.random.Generator, placer: Placer, skeleton: Skeleton) -> list[Person]:
    settings = placer.settings
    count = int(rng.integers(*settings.people, endpoint=True))
    if not settings.crowd_index:
        return [Person.in_image(figure, settings.image_size) for figure in placer.random_people(rng, count)]
    low, high = settings.crowd_index[int(rng.integers(len(settings.crowd_index)))]
    return Crowding(placer, skeleton, low, high).people(rng, count)


def _draw_crowd(canvas: Pixels, rng: np.random.Generator, placer: Placer, owners: Owners) -> Flags | None:
    """Paint a distant crowd (in place) and return its region without the labelled people, None if nothing shows."""
    size = placer.settings.image_size
    figures = crowd_in_the_distance(rng, placer, int(rng.integers(*CROWD_SIZE, endpoint=True)))
    crowd = [Person.in_image(figure, size) for figure in figures]
    for person in crowd:
        draw_person(canvas, person)
    gap = max(3, round(0.02 * size[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap))
    covered = (find_owners(crowd, size) >= 0).astype(np.uint8)
    shown: Flags = (cv2.morphologyEx(covered, cv2.MORPH_CLOSE, kernel) > 0) & (owners < 0)
    return shown if shown.any() else None
