"""``python -m tools.bench``: how fast this is, beside what it could be and beside what else there is."""
