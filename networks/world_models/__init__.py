"""Parts of learned models of environments: latent dynamics, encoders and decoders of observations, and their heads."""
