"""The version, where whatever writes it down can import it without the package's own names."""

__version__ = "0.1.0"
