"""The contract between the rooms: bundle format, preprocessing, errors, command line.

Must not import torch or a web framework: the service and the clients of a bundle build on this package alone.
"""

__version__ = "0.1.0"
