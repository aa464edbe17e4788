"""What both ends of gRPC share: tensors, answers, errors."""
