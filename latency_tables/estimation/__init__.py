"""Tables of devices that are not at hand, estimated from public measurements and published latencies."""
