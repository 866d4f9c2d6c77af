"""Messages of exchanges, typed: what a plan writes down and a lane reads. No I/O here."""
