"""People that the chosen subnets find on held-out images."""

from collections.abc import Sequence

from litepose_ofa.search.reporting.page.section import (
    Block,
    Grid,
    Picture,
    Prose,
    Section,
)


def samples_section(pictures: Sequence[Picture], note: str = "") -> Section | None:
    """Return the pictures beside each other.

    Args:
        pictures: Drawn, one a held-out image.
        note: What they show, or why there are none.

    Returns:
        None if there is nothing to show and nothing to say.
    """
    if not pictures and not note:
        return None
    blocks: list[Block] = [Prose(note)] if note else []
    return Section("samples", "Sample predictions", [*blocks, Grid(tuple(pictures))] if pictures else blocks)
