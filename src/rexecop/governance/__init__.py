"""Decides: policy, approvals, tickets and permits. It cannot act."""
