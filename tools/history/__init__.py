"""Long histories: made, built in pieces and at once, compared and timed."""
