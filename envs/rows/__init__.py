"""Rows of Gymnasium environments, stepped one by one, in processes or as a vector environment, as one stream."""
