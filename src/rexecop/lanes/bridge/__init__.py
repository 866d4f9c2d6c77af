"""The bridge: one protocol by which a guest or a node is asked to run programs, and tells how they ended."""
