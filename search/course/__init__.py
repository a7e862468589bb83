"""How a search runs and what it leaves: generations, the Optuna study, Ray Tune, results."""
