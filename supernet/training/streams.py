"""Random numbers of a training: one stream a purpose, each a function of (seed, stream, step or epoch)."""

ORDER, SIZE, SAMPLE, ARCHS = range(4)
