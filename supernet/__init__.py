"""The weight-sharing LitePose supernet: architectures, networks, data, training, evaluation, export."""
