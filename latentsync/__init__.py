"""LatentSync: audio-conditioned latent diffusion for lip synchronisation (arXiv 2412.09262).

Start reading at ``types.py``, then ``inference/pipeline.py``. Importing this package loads nothing heavy.
"""

from latentsync.constants import VERSION

__version__ = VERSION
__all__ = ["__version__"]
