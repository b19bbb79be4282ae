"""Pairs of mammograms with their labels: manifest tables, image files, and what training does with them."""
