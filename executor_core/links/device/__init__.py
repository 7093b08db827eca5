"""The device link: a Wegent server's tasks over Socket.IO, in every generation of its protocol."""

from executor_core.links.device.link import DeviceLink, LinkTiming, Registration
from executor_core.links.device.login import Credential, Credentials

__all__ = ["Credential", "Credentials", "DeviceLink", "LinkTiming", "Registration"]
