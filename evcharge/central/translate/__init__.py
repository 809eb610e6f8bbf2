"""The only place that sees both sides: the domain never sees the wire, the wire never sees the domain."""
