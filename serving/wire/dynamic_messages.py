"""Message classes from descriptors made here, for messages that no Python package carries."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def message_class(file: descriptor_pb2.FileDescriptorProto, name: str) -> Any:
    """Makes the class of a message.

    Args:
        file: Declares it.
        name: Full name of the message, with its package.

    Returns:
        The class.
    """
    # A pool of its own: the process-wide one may hold other messages under the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)
