"""Parts of generative adversarial networks: generators, heads of discriminators, losses and penalties."""
