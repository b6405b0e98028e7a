"""Device-native environments: rules as functions of tensors."""
