"""A search as an Optuna study: trials, storage, results."""
