"""Training the supernet: what a step sees, what it minimises, and the loop that survives a kill."""
