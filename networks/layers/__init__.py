"""Layers and initialisation that backbones and heads are made of."""
