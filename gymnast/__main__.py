"""`python -m gymnast`."""

import sys

from gymnast.cli import main

if __name__ == "__main__":
    sys.exit(main())
