"""Views made in batch, on the device; importing registers them."""

from mmentropy.views.central_square import CentralSquare
from mmentropy.views.loading import CheckedLoadImageFromFile, PackImage, ReducedLoadImageFromFile
from mmentropy.views.preprocessor import BatchViews, PerChannelPreprocessor
