"""Looking inside networks: attribution, gradient ascent, textures, adversarial inputs, units; functions of tensors."""
