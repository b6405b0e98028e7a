"""Taking a trained policy elsewhere: ONNX, torch.export and safetensors, with a contract that says how it is used."""
