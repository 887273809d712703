"""What the U-Net is trained for: noise, looks, lip sync and movement; each loss a callable of its own."""
