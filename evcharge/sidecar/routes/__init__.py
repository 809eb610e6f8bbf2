"""Every route of the sidecar is declared in this folder, one file for each concern, with scope, limits and schemas."""
