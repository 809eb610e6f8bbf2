"""The whole system on one virtual clock, an in-memory network and simulated disks: every run follows from its seed."""
