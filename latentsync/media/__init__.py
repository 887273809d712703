"""Files and containers, through PyAV: probe, decode, sound, encode. No other package opens media files."""
