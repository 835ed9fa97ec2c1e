"""Measurements. NumPy's products have no threads of their own, as in the command line."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is loaded
