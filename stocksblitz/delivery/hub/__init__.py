"""The delivery hub: all live sockets of one process, and the streams that they have."""

from stocksblitz.delivery.hub.wiring import Hub, get_hub

__all__ = ["Hub", "get_hub"]
