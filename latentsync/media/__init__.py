"""Files and containers, through PyAV: probe, decode, read audio, encode. No other package opens media files."""
