"""The allocator on random trees, through random days."""
