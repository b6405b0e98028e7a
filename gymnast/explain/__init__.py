"""Looking inside a trained network: saliency, features, textures, embeddings, units; as pictures and as one page."""
