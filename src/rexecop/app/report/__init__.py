"""The page people read: evidence as one HTML file without scripts, without a network."""
