"""The search for a finetuning's settings."""
