"""Taking a trained policy elsewhere: ONNX, torch.export and safetensors, with a contract; or from Stable-Baselines3."""
