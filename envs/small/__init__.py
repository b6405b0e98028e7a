"""Small exact Gymnasium environments of our own."""
