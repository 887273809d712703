"""The page: components, handlers and words around ``inference``. It decides nothing about how a video is dubbed."""
