"""The profiling kit: a folder of models that a board times with its own runtime, and the reading of what comes back."""
