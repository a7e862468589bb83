"""How far the supernet can be trusted."""
