"""Ray: sessions and pools of workers."""
