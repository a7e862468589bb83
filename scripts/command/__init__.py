"""The ``litepose`` command: its verbs, its help, its errors."""
