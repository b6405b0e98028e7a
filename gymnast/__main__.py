"""`python -m gymnast`."""

import sys

from gymnast.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
