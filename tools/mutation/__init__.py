"""Do the tests notice when the code is changed? ``python -m tools.mutation --help``."""
