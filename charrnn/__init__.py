"""charrnn: character-level RNN language models on the command line.

The equation is in :mod:`charrnn.model.cell`; the command line in :mod:`charrnn.cli`.
"""

__version__ = "0.1.0"
