"""The data pipeline: a folder of videos in, face clips that can be trained on out, in eight numbered steps."""
