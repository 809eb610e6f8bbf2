"""``python -m tools.loadgen``: load on a real Central, with assertions about what it must never do."""
