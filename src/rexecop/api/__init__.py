"""The Python API: what `from rexecop import …` gives. Names are public in `rexecop` alone."""
