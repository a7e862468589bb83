"""Values of the library from a checked config.

All raise ``InputError`` for settings that contradict each other, and for files that are missing, damaged or do not fit.
"""
