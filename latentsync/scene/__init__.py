"""A scene: who speaks when, with which audio, and what is left alone; from and to files. No framework is loaded."""
