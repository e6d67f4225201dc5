"""A Ray cluster: how it is reached, which devices it has, how many workers have room, and whether nodes fit."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnlsdenoise.engine.worker import versions_here
from vnlsdenoise.errors import DeviceError, ExtensionError, UsageError

START_SECONDS, _CONNECT_SECONDS = 120, 20
_CORES_OF_A_WORKER = 4  # of those without a GPU
_STORE = 1 << 28  # bytes of the object store of a cluster of this machine
_SAME = ("vnlsdenoise", "torch", "av", "libavcodec")


@dataclass(frozen=True)
class Devices:
    """indices: of the GPUs of this machine, None for all there are. cpus: how many workers without a GPU, None for as
    many as there is room for."""

    indices: tuple[int, ...] | None = None
    cpus: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Devices":
        """ "all", "0,2" or "cpu:N"; raises UsageError."""
        kind, _, count = text.partition(":")
        if text == "all":
            return cls()
        if kind == "cpu" and count.isdigit() and int(count):
            return cls(cpus=int(count))
        if all(part.isdigit() for part in text.split(",")):
            return cls(tuple(dict.fromkeys(map(int, text.split(",")))))
        raise UsageError(f"--devices {text} means no devices; give all, numbers of GPUs such as 0,2, or cpu:N")


@dataclass(frozen=True)
class Seat:
    """Room for one worker. node: as Ray tells of it; cores: its share of those there; memory: bytes that it reserves of
    the node's, 0 where Ray knows of none there."""

    node: dict[str, Any]
    cores: int
    memory: int


class Cluster:
    """A cluster that is connected to. device: "cuda" or "cpu", what is worked on there.

    where: "local" for one of this machine that ends with it, "auto" for the one that runs here, or an address. memory:
    bytes that a worker on a CPU needs, None for its share of the node. Raises UsageError (no such devices), DeviceError
    (no Ray, no cluster, no GPU, no room).
    """

    def __init__(self, where: str, devices: Devices, device: str, memory: int | None = None) -> None:
        if where != "local":
            _show_token()
        self.ray = _ray()
        self._own = not self.ray.is_initialized()  # Whoever calls from Python may have connected already.
        if self._own:
            # It tells of workers that died on stdout, where only data goes; whoever asks for their results is told too.
            self.ray._private.worker.print_to_stdstream = lambda *_, **__: None
            with _signals_kept():
                _connect(self.ray, where, devices)
        try:
            self._nodes = [node for node in self.ray.nodes() if node["Alive"]]
            self.device = self._chosen_device(devices, device)
            self.seats = self._found_seats(devices, memory if self.device == "cpu" else None)
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Disconnect; a cluster of this machine ends."""
        if self._own:
            self.ray.shutdown()

    def _chosen_device(self, devices: Devices, device: str) -> str:
        gpus = sum(node["Resources"].get("GPU", 0) for node in self._nodes)
        if device == "cpu" or devices.cpus is not None:
            return "cpu"
        if gpus:
            return "cuda"
        if device.startswith("cuda") or devices.indices is not None:
            raise DeviceError(
                f"no GPU in the cluster ({len(self._nodes)} node(s)); Ray was told of none, or finds no driver there; "
                "start its nodes with --num-gpus, or give --device cpu"
            )
        return "cpu"

    def _found_seats(self, devices: Devices, memory: int | None) -> list[Seat]:
        found: list[Seat] = []
        for node in self._nodes:
            has = node["Resources"]
            cores, room = int(has.get("CPU", 0)), int(has.get("memory", 0))
            most = min(cores, room // memory) if memory and room else cores
            if self.device == "cuda":
                count = min(int(has.get("GPU", 0)), cores)
            elif devices.cpus is not None:
                count = min(most, -(-devices.cpus // len(self._nodes)), devices.cpus - len(found))
            else:
                count = min(most, max(1, cores // _CORES_OF_A_WORKER)) if cores else 0
            if count:
                share = max(1, cores // count)
                # Memory is shared out as cores and GPUs are: whoever finds room for those finds it for this.
                part = room * share // cores if self.device == "cpu" else int(room // has["GPU"])
                found += [Seat(node, share, min(memory, room) if memory else part)] * count
        if not found or (devices.cpus is not None and len(found) < devices.cpus):
            total = [sum(node["Resources"].get(name, 0) for node in self._nodes) for name in ("CPU", "memory")]
            each = f", {memory >> 20} MiB each" if memory else ""
            raise DeviceError(
                f"no room for {devices.cpus or 'any'} worker(s){each} in the cluster ({len(self._nodes)} node(s), "
                f"{int(total[0])} core(s), {int(total[1]) >> 20} MiB); ask for fewer, or add nodes"
            )
        return found

    def check_nodes(self) -> None:
        """Raise where a node cannot do the work, or would make other bytes; DeviceError and ExtensionError."""

        def look() -> Any:  # by value, so that it runs also where the package is missing
            try:
                from vnlsdenoise.engine.worker import versions_here
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            return versions_here()

        place = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task = self.ray.remote(look)
        asked = {
            node["NodeManagerHostname"] or node["NodeManagerAddress"]: task.options(
                num_cpus=0, scheduling_strategy=place(node["NodeID"], soft=False)
            ).remote()
            for node in {seat.node["NodeID"]: seat.node for seat in self.seats}.values()
        }
        here = versions_here()
        for name, answer in asked.items():
            try:
                found = self.ray.get(answer, timeout=START_SECONDS)
            except self.ray.exceptions.RayError as error:
                raise DeviceError(
                    f"node {name} does not answer ({first_line(error)}); check it, or leave it out"
                ) from None
            if isinstance(found, str):
                raise ExtensionError(
                    f"node {name} cannot do the work ({found}); install vnlsdenoise {here['vnlsdenoise']} with its "
                    "compiled library there, for the Python that Ray runs in"
                )
            other = [f"{part} {found.get(part)} (here {here[part]})" for part in _SAME if found.get(part) != here[part]]
            if other:
                raise DeviceError(
                    f"node {name} has {', '.join(other)}; its results would be others; install the same on every node"
                )
            if self.device == "cuda" and not found["kernels"]:
                raise ExtensionError(
                    f"node {name} has a GPU, but its vnlsdenoise was built without CUDA kernels; rebuild it there with "
                    "VNLSDENOISE_CUDA=1"
                )


def count_workers(where: str, devices: Devices, device: str, memory: int | None = None) -> int:
    """How many workers a `Cluster` of this would have room for; starts none. Raises what that raises."""
    if where != "local":
        cluster = Cluster(where, devices, device, memory)
        cluster.leave()
        return len(cluster.seats)
    if devices.cpus is not None:
        return devices.cpus
    if devices.indices is not None:
        return len(devices.indices)
    import torch

    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    return gpus or max(1, len(os.sched_getaffinity(0)) // _CORES_OF_A_WORKER)


def _show_token() -> None:
    """Have Ray use the token that lets into clusters, where there is one, as `ray start` does; read when Ray loads."""
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if "RAY_AUTH_TOKEN" in os.environ or file.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Nobody is told of a cluster of this machine.
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise DeviceError(
            "several devices need Ray, which is not installed; run: pip install 'vnlsdenoise[ray]', "
            "or leave --ray and --devices out"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts handlers of its own in the place of those that end a run in order."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _connect(ray: Any, where: str, devices: Devices) -> None:
    if where != "local":
        if devices.indices is not None:
            raise UsageError("--devices with numbers is for the GPUs of this machine; leave --ray out, or give all")
        _reach(ray, where)
        return
    gpus = _gpus_here(devices)
    options: dict[str, Any] = {} if gpus is None else {"num_gpus": len(gpus)}
    if devices.cpus is not None:
        options["num_cpus"] = max(devices.cpus, len(os.sched_getaffinity(0)))
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False  # as on systems where it listens on loopback only
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the same, for what it starts
    with shown(gpus):
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_STORE,
            log_to_driver=False,
            configure_logging=False,
            **options,
        )


def _reach(ray: Any, where: str) -> None:
    why = "is it started (`ray start --head`), and its port open? --ray local needs none"
    host, _, port = where.rpartition(":")
    if host and port.isdigit():
        try:  # Ray itself tries for minutes.
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError as error:
            raise DeviceError(f"no Ray cluster at {where}; {error.strerror or error}; {why}") from error
    try:
        ray.init(address=where, log_to_driver=False, configure_logging=False)
    except ray.exceptions.RayError as error:
        raise DeviceError(f"cannot work with the cluster {where}; {first_line(error)}; {why}") from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise DeviceError(f"no Ray cluster at {where}; {first_line(error)}; {why}") from error


def _gpus_here(devices: Devices) -> list[str] | None:
    """The GPUs of this machine that are meant, as CUDA calls them; None to let Ray look."""
    if devices.cpus is not None:
        return []
    if devices.indices is None:
        return None
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    import torch

    known = shown.split(",") if shown else [str(index) for index in range(torch.cuda.device_count())]
    if max(devices.indices) >= len(known):
        raise DeviceError(f"no device {max(devices.indices)}: there are {len(known)} CUDA devices")
    return [known[index] for index in devices.indices]


@contextmanager
def shown(gpus: list[str] | None) -> Iterator[None]:
    """What is begun inside sees no other GPUs; this process goes on to see what it saw."""
    if not gpus:
        yield
        return
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    os.environ[name] = ",".join(gpus)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def first_line(error: BaseException) -> str:
    """What an error says, without what Ray tells beside it."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
