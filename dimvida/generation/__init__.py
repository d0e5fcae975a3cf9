"""From a data set of known views to a data set of completed ones."""
