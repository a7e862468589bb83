"""Reports on the searches of a workspace: what was found, in tables and pictures."""
