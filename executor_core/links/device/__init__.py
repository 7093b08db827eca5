"""The device link: a Wegent server's tasks over Socket.IO, in every generation of its protocol."""

from executor_core.links.device.link import DeviceLink, LinkTiming, Registration

__all__ = ["DeviceLink", "LinkTiming", "Registration"]
