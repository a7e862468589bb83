"""Once-for-all neural architecture search for LitePose."""
