"""Workers of a Ray cluster: one warm process a device, which does what it is told and tells how far it has come."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vnlsdenoise.engine.worker import Worker, versions_here
from vnlsdenoise.errors import DeviceError, ExtensionError, UsageError, VnlsError

SLOTS = 2  # parts that a worker has at a time: one is read from the disk while the other is denoised
_CORES_OF_A_WORKER = 4  # of those without a GPU
_STORE = 1 << 28  # bytes of the object store of a cluster of this machine
_START_SECONDS, _CONNECT_SECONDS = 120, 20
_SAME = ("vnlsdenoise", "torch", "av", "libavcodec")


class WorkerLost(Exception):
    """A worker died with what it was doing."""


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
class News:
    """What came of a task. kind: "begun", "told", "done", "failed" (value: the error), or "lost"."""

    task: int
    kind: str
    value: Any = None


@dataclass
class _Task:
    stream: Any
    worker: int


class Fleet:
    """The workers of a cluster. device: "cuda" or "cpu", what they work on. Use it in a `with` block.

    where: "local" for a cluster of this machine that ends with it, "auto" for the one that runs here, or an address.
    Raises UsageError (no such devices), DeviceError (no Ray, no cluster, no GPU, a node that is not fit).
    """

    def __init__(self, where: str, devices: Devices, device: str, say: Callable[[str], None]) -> None:
        if where != "local":
            _show_token()
        self._ray = _ray()
        self._say = say
        self._tasks: dict[int, _Task] = {}
        self._by_stream: dict[Any, int] = {}
        self._count = 0
        self._actors: list[Any] = []
        self._own = not self._ray.is_initialized()  # Whoever calls from Python may have connected already.
        if self._own:
            with _signals_kept():
                _connect(self._ray, where, devices)
        try:
            self._nodes = [node for node in self._ray.nodes() if node["Alive"]]
            self.device = self._chosen_device(devices, device)
            places = self._places(devices)
            self._check_nodes({place["NodeID"]: place for place, _ in places}.values())
            self._cores = [cores for _, cores in places]
            self._actors = [self._started(index) for index in range(len(places))]
            self.names = self._hello()
        except BaseException:
            self._end()
            raise

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._actors)

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

    def _places(self, devices: Devices) -> list[tuple[dict[str, Any], int]]:
        """The node of every worker, and its share of the cores there."""
        found: list[tuple[dict[str, Any], int]] = []
        for node in self._nodes:
            cores = int(node["Resources"].get("CPU", 0))
            if self.device == "cuda":
                count = min(int(node["Resources"].get("GPU", 0)), cores)
            elif devices.cpus is not None:
                count = min(cores, -(-devices.cpus // len(self._nodes)), devices.cpus - len(found))
            else:
                count = max(1, cores // _CORES_OF_A_WORKER) if cores else 0
            found += [(node, max(1, cores // count))] * count
        if not found or (devices.cpus is not None and len(found) < devices.cpus):
            cores = int(sum(node["Resources"].get("CPU", 0) for node in self._nodes))
            raise DeviceError(
                f"no room for {devices.cpus or 'any'} worker(s) in the cluster ({len(self._nodes)} node(s), "
                f"{cores} core(s)); ask for fewer, or add nodes"
            )
        return found

    def _check_nodes(self, nodes: Any) -> None:
        """Raise where a node cannot do the work, or would make other bytes."""

        def look() -> Any:  # by value, so that it runs also where the package is missing
            try:
                from vnlsdenoise.engine.worker import versions_here
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            return versions_here()

        place = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task = self._ray.remote(look)
        asked = {
            node["NodeManagerHostname"] or node["NodeManagerAddress"]: task.options(
                num_cpus=0, scheduling_strategy=place(node["NodeID"], soft=False)
            ).remote()
            for node in nodes
        }
        here = versions_here()
        for name, answer in asked.items():
            try:
                found = self._ray.get(answer, timeout=_START_SECONDS)
            except self._ray.exceptions.RayError as error:
                raise DeviceError(
                    f"node {name} does not answer ({_first_line(error)}); check it, or leave it out"
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

    def _started(self, index: int) -> Any:
        # Without a GPU the cores are what a worker needs; with one they are shared by all that runs beside it.
        cores = self._cores[index] if self.device == "cpu" else 1
        actor = self._ray.remote(Worker).options(
            num_cpus=cores, num_gpus=int(self.device == "cuda"), max_concurrency=SLOTS + 2, max_restarts=0
        )
        return actor.remote(self.device, self._cores[index])

    def _hello(self) -> list[str]:
        try:
            return list(self._ray.get([actor.name.remote() for actor in self._actors], timeout=_START_SECONDS))
        except self._ray.exceptions.RayError as error:
            raise DeviceError(
                f"workers do not start within {_START_SECONDS} s ({_first_line(error)}); is the cluster busy? "
                "see `ray status`"
            ) from error

    # --- tasks

    def give(self, worker: int, function: Callable[..., Any], *arguments: Any) -> int:
        """Let a worker call function(worker, tell, *arguments); what it tells and gives comes by `news`."""
        stream = self._actors[worker].do.options(num_returns="streaming").remote(function, *arguments)
        self._count += 1
        self._tasks[self._count], self._by_stream[stream] = _Task(stream, worker), self._count
        return self._count

    def worker_of(self, task: int) -> int:
        """Which worker was given a task that is not over."""
        return self._tasks[task].worker

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a worker, whichever has time, gives for a short task; from any thread."""
        for attempt in range(3):
            actor = self._actors[(self._count + attempt) % self.size]
            try:
                return self._ray.get(actor.answer.remote(function, *arguments))
            except self._ray.exceptions.RayTaskError as error:
                raise _own(error) from error
            except self._ray.exceptions.RayActorError as error:
                lost = error
                time.sleep(1)  # another one is being started
        raise DeviceError(f"workers die ({_first_line(lost)}); see the logs of Ray") from lost

    def news(self, seconds: float) -> Iterator[News]:
        """What has come of the tasks, waiting for the first at most so long."""
        if not self._by_stream:
            time.sleep(min(seconds, 0.05))
            return
        ready, _ = self._ray.wait(list(self._by_stream), num_returns=1, timeout=seconds, fetch_local=False)
        more, _ = self._ray.wait(list(self._by_stream), num_returns=len(self._by_stream), timeout=0, fetch_local=False)
        for stream in dict.fromkeys([*ready, *more]):
            if stream in self._by_stream:
                yield self._next(stream, self._by_stream[stream])

    def _next(self, stream: Any, task: int) -> News:
        try:
            kind, value = self._ray.get(next(stream))
        except self._ray.exceptions.RayTaskError as error:
            kind, value = "failed", _own(error)
        except (self._ray.exceptions.RayError, StopIteration) as error:
            kind, value = "lost", _first_line(error)
        if kind not in ("begun", "told"):
            del self._by_stream[stream]
        return News(task, kind, value)

    def over(self, task: int) -> None:
        """Nothing more is asked of a task that is done, failed or lost."""
        self._tasks.pop(task, None)

    def replace(self, worker: int) -> None:
        """Start a worker anew, in another process."""
        self._ray.kill(self._actors[worker])
        self._actors[worker] = self._started(worker)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        # What is at work dies at once, as by kill -9: what is finished is kept.
        self._end()

    def _end(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)
        if self._own:
            self._ray.shutdown()


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
    options: dict[str, Any] = {} if gpus is None else {"num_gpus": gpus}
    if devices.cpus is not None:
        options["num_cpus"] = max(devices.cpus, len(os.sched_getaffinity(0)))
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False  # as on systems where it listens on loopback only
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the same, for what it starts
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
        raise DeviceError(f"cannot work with the cluster {where}; {_first_line(error)}; {why}") from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise DeviceError(f"no Ray cluster at {where}; {_first_line(error)}; {why}") from error


def _gpus_here(devices: Devices) -> int | None:
    """How many GPUs of this machine are meant, which then are the only ones that Ray sees; None to let it look."""
    if devices.cpus is not None:
        return 0
    if devices.indices is None:
        return None
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    import torch

    known = shown.split(",") if shown else [str(index) for index in range(torch.cuda.device_count())]
    if max(devices.indices) >= len(known):
        raise DeviceError(f"no device {max(devices.indices)}: there are {len(known)} CUDA devices")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(known[index] for index in devices.indices)
    return len(devices.indices)


def _own(error: Any) -> BaseException:
    """The error of the function itself."""
    cause = error.cause
    return cause if isinstance(cause, Exception) else VnlsError(_first_line(error))


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
