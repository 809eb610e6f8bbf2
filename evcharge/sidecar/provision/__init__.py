"""Everything that a site needs before its first start, from one plan: registry, credentials, accounts, certificates."""
