"""An Atari 2600 whose console is Numba-compiled Python, bit-exact with ale-py's; it needs nothing else of gymnast."""
