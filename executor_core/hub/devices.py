"""Which devices are there: their rows, and the online records that heartbeats keep alive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.feed import Feed
from executor_core.hub.store import Answer, Store
from executor_core.hub.wire import Capacity, Dialect, Heartbeat, Json, Registration

ONLINE_TTL_S = 90.0
_PROGRESS_SLOTS = 5

_NEWER_FIELDS = dict.fromkeys(
    (
        "client_ip",
        "cloud_config",
        "runtime_transfer_host",
        "runtime_instance_id",
        "app_device_id",
        "socket_device_id",
        "runtime_features",
        "remote_config",
    )
) | {"bind_shell": "claudecode"}
"""What the newest servers say of a device besides; of a local one nothing of it is known."""

Running = Callable[[int, str], list[Answer]]
"""The running answers of a user's device."""


@dataclass
class _Record:
    """What is known of a device while it is online. `sid` is the socket that owns it."""

    sid: str
    seen_at: float
    status: str = "online"
    running_task_ids: list[int] = field(default_factory=list)
    runtime_instance_id: str | None = None
    capacity: Capacity | None = None


class Devices:
    """The devices of all users. Pages are told of every change."""

    def __init__(
        self, store: Store, feed: Feed, clock: Clock, dialect: Dialect, running: Running
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._dialect = dialect
        self._running = running
        self._records: dict[tuple[int, str], _Record] = {}

    # --- from the device -----------------------------------------------------------------------

    async def register(self, user_id: int, sid: str, device: Registration) -> bool:
        """The socket owns the device from now on; an older one of the same device is stale.

        False if the user has too many devices online.
        """
        online = [of for user, of in self._records if user == user_id]
        now = self._clock.now().isoformat()
        if not await self._store.register_device(user_id, device, now, online):
            return False
        self._records[user_id, device.device_id] = _Record(
            sid, self._clock.monotonic(), runtime_instance_id=device.runtime_instance_id
        )
        await self.tell(user_id, device.device_id)
        return True

    async def heartbeat(self, user_id: int, sid: str, beat: Heartbeat) -> str | None:
        """Renew the online record; the error for the ack, if there is one."""
        record = self._record(user_id, beat.device_id)
        if record is None:
            if self._dialect == "progress":
                # These servers answer success and leave the device offline until it registers.
                return None
            record = _Record(
                sid, self._clock.monotonic(), runtime_instance_id=beat.runtime_instance_id
            )
            self._records[user_id, beat.device_id] = record
        if record.sid != sid and self._dialect == "responses":
            return "Stale device connection"
        if record.runtime_instance_id not in (None, beat.runtime_instance_id):
            return "Runtime instance ID mismatch"
        record.seen_at = self._clock.monotonic()
        record.running_task_ids = beat.running_task_ids
        record.capacity = beat.capacity
        now = self._clock.now().isoformat()
        await self._store.touch_device(user_id, beat.device_id, beat.executor_version, now)
        await self.tell(user_id, beat.device_id)
        return None

    async def set_status(self, user_id: int, device_id: str, status: str) -> None:
        """The device's own word for how it is."""
        record = self._record(user_id, device_id)
        if record is not None:
            record.status, record.seen_at = status, self._clock.monotonic()
            await self.tell(user_id, device_id)

    def owns(self, user_id: int, device_id: str, sid: str) -> bool:
        """Whether the device is online by this very socket."""
        record = self._records.get((user_id, device_id))
        return record is not None and record.sid == sid

    async def lose(self, user_id: int, device_id: str) -> None:
        """The device is gone."""
        if self._records.pop((user_id, device_id), None) is not None:
            await self.tell(user_id, device_id)

    def expired(self) -> list[tuple[int, str]]:
        """Devices that have been silent for longer than a record lives."""
        return [key for key, record in self._records.items() if not self._is_alive(record)]

    # --- for the user --------------------------------------------------------------------------

    def is_online(self, user_id: int, device_id: str) -> bool:
        """Whether tasks can be sent to the device now."""
        return self._record(user_id, device_id) is not None

    async def infos(self, user_id: int) -> list[Json]:
        """The user's devices, as the REST interface shows them."""
        return [self._info(user_id, row) for row in await self._store.devices(user_id)]

    async def chosen(self, user_id: int, device_id: str | None) -> Json:
        """The device that a task goes to: the named one, or else the default.

        Raises:
            ExecutorError: `no_device`, `unknown_device` or `device_offline`.
        """
        infos = await self.infos(user_id)
        if device_id is None:
            found = next((info for info in infos if info["is_default"]), None)
            found = found or (infos[0] if infos else None)
        else:
            found = next((info for info in infos if info["device_id"] == device_id), None)
        if found is None:
            if device_id is None:
                raise ExecutorError("no_device")
            raise ExecutorError("unknown_device", device_id=device_id)
        if found["status"] == "offline":
            raise ExecutorError("device_offline", name=found["name"])
        return found

    async def tell(self, user_id: int, device_id: str) -> None:
        """Show the device's present state to the user's pages."""
        for info in await self.infos(user_id):
            if info["device_id"] == device_id:
                self._feed.publish(user_id, "device", info)

    def _record(self, user_id: int, device_id: str) -> _Record | None:
        record = self._records.get((user_id, device_id))
        return record if record is not None and self._is_alive(record) else None

    def _is_alive(self, record: _Record) -> bool:
        return self._clock.monotonic() - record.seen_at < ONLINE_TTL_S

    def _info(self, user_id: int, row: Json) -> Json:
        device_id = row["device_id"]
        record = self._record(user_id, device_id)
        used, most = self._slots(record)
        status = "offline" if record is None else record.status
        if status == "online" and most and used >= most:
            status = "busy"
        return {
            "id": row["id"],
            "device_id": device_id,
            "name": row["name"],
            "status": status,
            "is_default": bool(row["is_default"]),
            "last_heartbeat": row["last_heartbeat"],
            "capabilities": row["capabilities"],
            "slot_used": used,
            "slot_max": most,
            "running_tasks": [
                {"task_id": answer.task_id, "subtask_id": answer.subtask_id}
                for answer in self._running(user_id, device_id)
            ],
            "executor_version": row["executor_version"],
            "latest_version": None,
            "update_available": False,
            "device_type": "local",
            "connection_mode": "websocket",
        } | (_NEWER_FIELDS if self._dialect == "responses" else {})

    def _slots(self, record: _Record | None) -> tuple[int, int]:
        if self._dialect == "progress":
            return (len(record.running_task_ids) if record else 0), _PROGRESS_SLOTS
        capacity = record.capacity if record else None
        return (capacity.active, capacity.limit) if capacity else (0, 0)
