"""What both ends of a connection share: tensors, responses, errors, TLS."""
