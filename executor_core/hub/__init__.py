"""The embedded server of standalone mode: the other end of the device link, and the console.

It shares no word of the protocol with our device, so that it can also judge it.
"""

from executor_core.hub.hub import Hub
from executor_core.hub.wire import Dialect

__all__ = ["Dialect", "Hub"]
