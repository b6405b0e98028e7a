"""One thread for torch and NumPy: two beside a busy core are slower than one, and `make test` runs a worker a core."""

from gymnast.machine import limit_threads

limit_threads(1)
