"""What runs are compared by: tables, statistics and figures."""
