"""The names of the data sets, for options that choose one without loading torch."""

from typing import Literal

DataName = Literal["stl10", "fashion-mnist", "digits", "imagefolder"]
"""The name of a data set; an imagefolder is a folder of images for each class, in train and in val."""
