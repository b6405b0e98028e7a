"""Parts of autoencoders: what is restored, decoders, and the part of each kind."""
