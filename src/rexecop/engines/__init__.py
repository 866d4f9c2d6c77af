"""Who drives operations, and when: one driver loop, several engines."""
