"""Export: a subnet as a folder that runs without this project."""
