"""``python -m litepose_ofa`` is the ``litepose`` command."""

from litepose_ofa.scripts.command.main import main

if __name__ == "__main__":
    main()
