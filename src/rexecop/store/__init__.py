"""The ledger and its index, durable on disk."""
