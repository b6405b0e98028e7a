"""Networks fitted to data: recording, fitting, measuring."""
