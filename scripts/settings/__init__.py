"""What each verb's config may hold: types, ranges and keys, checked before a run begins."""
