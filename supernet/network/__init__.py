"""The network, elastic and static."""
