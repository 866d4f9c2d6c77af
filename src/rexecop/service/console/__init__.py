"""The console: pages for people over one runtime root."""
