"""Writes the commands and config groups of ``docs/reference`` from the configs."""

from pathlib import Path

import config_reference

from litepose_ofa.supernet.files import write_text

FOLDER = Path(__file__).parents[1] / "reference"


def pages() -> dict[Path, str]:
    """Return the text of each page by its file."""
    return {
        FOLDER / "commands.md": config_reference.commands_page(),
        FOLDER / "groups.md": config_reference.groups_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        write_text(path, text)
