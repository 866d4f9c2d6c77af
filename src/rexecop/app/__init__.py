"""The one place that wires: settings are read and plug-ins are loaded here and nowhere else."""
