"""One torch thread: two beside a busy core are slower than one, and `make test` runs one worker a core."""

import torch

torch.set_num_threads(1)
