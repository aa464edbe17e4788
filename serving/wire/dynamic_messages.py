"""Message classes from descriptors, for messages that no Python package contains. Imports no TensorFlow."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def message_class(file: descriptor_pb2.FileDescriptorProto, name: str) -> Any:
    """Return the class of a message.

    Args:
        file: Declaration of the message.
        name: Full name of the message, with its package.
    """
    # The process-wide pool may hold other messages with the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)
