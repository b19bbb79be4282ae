"""Published data sets of mammograms as they lie on disk → rows of a manifest. One reader a file, listed in `catalogue`.

A reader takes the data set's folder and returns a `Reading`: one row an image, and each thing that was wrong with it.
Its docstring says where the format is described, what "abnormal" means there, and the quirks.
"""
