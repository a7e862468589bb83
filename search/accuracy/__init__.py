"""How good a network is: measured through the supernet, predicted from such measurements, or from published figures."""
