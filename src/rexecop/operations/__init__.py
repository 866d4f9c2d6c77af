"""What happens next: plan, fold, state table and the pure function from an operation to its next effect."""
